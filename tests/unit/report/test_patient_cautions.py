"""A patient's page says what the training of its model has warned of."""

from __future__ import annotations

from nnunet_mgcl.data.layout import FoldLayout
from nnunet_mgcl.engine.training_warnings import TrainingWarning, TrainingWarnings
from nnunet_mgcl.report.patient.page import about_section


def test_warnings_of_each_fold_are_counted_and_placed_or_said_to_be_unreadable(tmp_path) -> None:
    for fold, branches in enumerate((("DWI", "FLAIR"), ("DWI",), ())):
        path = FoldLayout(tmp_path / f"fold_{fold}").warnings
        path.parent.mkdir(parents=True)
        for branch in branches:
            warning = TrainingWarning("coarse", branch, "learned nothing", "more epochs")
            TrainingWarnings(path, print).replace("coarse", branch, [warning])
    _, first, second = about_section("A case.", tmp_path).text
    assert "fold_0" in first and "2 warnings (coarse DWI, coarse FLAIR)" in first
    assert "fold_1" in second and "1 warning (coarse DWI)" in second
    path.write_text("[1]")
    third = about_section("A case.", tmp_path).text[3]
    assert "fold_2" in third and "cannot be read" in third
