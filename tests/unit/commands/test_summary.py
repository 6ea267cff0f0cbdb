"""What `mgcl summary` prints, on the numbers of a fold. Its picture is tested in tests/unit/evaluation."""

from __future__ import annotations

import pytest

from nnunet_mgcl.cli import main
from nnunet_mgcl.data.layout import DatasetLayout
from nnunet_mgcl.evaluation.runs.fold_summary import FoldSummary

UNDEFINED = {"cases": 2, "positive": 2, "ACC": 0.5, "SEN": 0.5, "SPE": None, "AUROC": None,
             "auroc_reason": "no negative cases"}  # fmt: skip
DEFINED = UNDEFINED | {"SPE": 1.0, "AUROC": 0.75, "auroc_reason": None}


@pytest.fixture
def summarise(tmp_path, monkeypatch, capsys):
    """Prints the summary of a fold with these TSS numbers, a word a column."""

    def call(tss: dict | None) -> str:
        summary = FoldSummary({"DWI": 0.5, "PWI": None}, tss, tmp_path / "case_0.nii.gz", [])
        monkeypatch.setattr("nnunet_mgcl.data.results.model_folder", lambda *_: tmp_path)
        monkeypatch.setattr(DatasetLayout, "find", lambda _: DatasetLayout("Dataset901_Tiny", None, tmp_path))
        monkeypatch.setattr("nnunet_mgcl.evaluation.runs.fold_summary.summarise_fold", lambda *_: summary)
        monkeypatch.setattr("nnunet_mgcl.evaluation.runs.fold_summary.draw_fold", lambda *_: None)
        monkeypatch.setenv("COLUMNS", "120")
        assert main(["summary", "-d", "901", "-c", "2d"]) == 0
        return " ".join(capsys.readouterr().out.replace("│", " ").split())

    return call


def test_what_is_undefined_has_a_word_and_its_reason(summarise) -> None:
    printed = summarise(UNDEFINED | {"head": "mrff", "heads": {"mrff": UNDEFINED, "lesion": UNDEFINED}})
    assert "Dice PWI undefined" in printed and "TSS SPE undefined" in printed
    assert "TSS AUROC undefined (no negative cases)" in printed
    assert "None" not in printed and "auroc_reason" not in printed


def test_numbers_and_the_heads_beside_are_there(summarise) -> None:
    printed = summarise(DEFINED | {"head": "mrff", "heads": {"mrff": DEFINED, "lesion": DEFINED | {"AUROC": 0.25}}})
    for row in ("Dice DWI 0.500", "TSS cases 2", "TSS AUROC 0.750", "TSS head mrff", "AUROC of the head lesion 0.250"):
        assert row in printed


def test_a_model_without_a_head_has_no_such_row(summarise) -> None:
    assert "TSS" not in summarise(None)
