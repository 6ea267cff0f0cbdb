"""A patient's page says what the training of its model has warned of."""

from __future__ import annotations

from nnunet_mgcl.data.layout import FoldLayout
from nnunet_mgcl.engine.training_warnings import TrainingWarning, TrainingWarnings
from nnunet_mgcl.report.patient.page import _cautions


def test_warnings_of_each_fold_are_counted_and_placed(tmp_path) -> None:
    for fold, branches in ((0, ("DWI", "FLAIR")), (1, ("DWI",)), (2, ())):
        (tmp_path / f"fold_{fold}" / "phases").mkdir(parents=True)
        warnings = TrainingWarnings(FoldLayout(tmp_path / f"fold_{fold}").warnings, print)
        for branch in branches:
            warnings.replace("coarse", branch, [TrainingWarning("coarse", branch, "learned nothing", "more epochs")])
    first, second = _cautions(tmp_path)
    assert "fold_0" in first and "2 warnings (coarse DWI, coarse FLAIR)" in first
    assert "fold_1" in second and "1 warning (coarse DWI)" in second


def test_warnings_that_cannot_be_read_are_said(tmp_path) -> None:
    path = FoldLayout(tmp_path / "fold_0").warnings
    path.parent.mkdir(parents=True)
    path.write_text("[1]")
    (line,) = _cautions(tmp_path)
    assert "fold_0" in line and "cannot be read" in line
