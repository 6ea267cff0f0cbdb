from __future__ import annotations

import csv
import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from nnunet_mgcl.data.cases.incomplete import Incomplete
from nnunet_mgcl.data.layout import FoldLayout
from nnunet_mgcl.data.tss_table import TSSRow, TSSTable, read_tss_table
from nnunet_mgcl.evaluation.runs.tss_validation import head_metrics
from nnunet_mgcl.training import validation
from nnunet_mgcl.training.validation import write_validation_extras

TABLE = TSSTable({"a": TSSRow(True, 2.0, None), "b": TSSRow(False, 9.0, None), "c": TSSRow(True, None, None)})


def test_only_cases_with_a_known_tss_are_counted() -> None:
    summary = head_metrics({"a": 0.9, "b": 0.6, "c": 0.5, "unknown": 0.1}, TABLE)
    assert (summary["cases"], summary["positive"]) == (3, 2)
    assert (summary["TP"], summary["FP"], summary["FN"], summary["TN"]) == (2, 1, 0, 0)
    assert summary["ACC"] == pytest.approx(2 / 3)


@pytest.fixture
def lines() -> list[str]:
    """What was logged."""
    return []


@pytest.fixture
def fold(tmp_path, monkeypatch, lines):
    """A trainer whose head says 0.5 for every case, from where on it is < 4.5 h."""
    (tmp_path / "fold_0" / "validation").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    for case in ("a", "b", "x"):
        (tmp_path / "data" / f"{case}.b2nd").touch()
    (tmp_path / "tss.csv").write_text("case,tss_hours\na,2\nb,9\n")
    table = read_tss_table(tmp_path / "tss.csv", ["a", "b", "x"])
    monkeypatch.setattr(validation, "load_volume", lambda images, case: case)
    monkeypatch.setattr(validation, "tss_probabilities", lambda network, heads, *_: dict.fromkeys(heads, 0.5))
    return SimpleNamespace(
        fold_layout=FoldLayout(tmp_path / "fold_0"),
        tss_table=lambda: table,
        config=SimpleNamespace(lesion_labels=None, tss=SimpleNamespace(head="lesion")),
        configuration_manager=None,
        mgcl_network=SimpleNamespace(
            tss=SimpleNamespace(trained=torch.tensor(True)), with_present=lambda _: nullcontext()
        ),
        incomplete=Incomplete(["A"]),
        preprocessed_dataset_folder=str(tmp_path / "data"),
        dataset_class=nnUNetDatasetBlosc2,
        do_split=lambda: (["b"], ["x", "a"]),
        log=lines.append,
    )


def written(fold) -> list[str]:
    return sorted(path.name for path in fold.fold_layout.validation.iterdir())


def test_every_validation_case_gets_a_row_and_the_known_ones_are_summarised(fold) -> None:
    write_validation_extras(fold)
    with (fold.fold_layout.validation / "tss.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {"case": "a", "tss_hours": "2.0", "tss_class": "1", "probability": "0.500000", "predicted_class": "1"},
        {"case": "x", "tss_hours": "", "tss_class": "", "probability": "0.500000", "predicted_class": "1"},
    ]
    summary = json.loads((fold.fold_layout.validation / "tss_summary.json").read_text())
    assert (summary["cases"], summary["ACC"]) == (1, 1.0)


def test_the_log_has_words_for_what_is_undefined_and_no_data_structure(fold, lines) -> None:
    write_validation_extras(fold)
    assert "cases 1, positive 1" in lines[0] and "ACC 1.000, SEN 1.000, SPE undefined" in lines[0]
    assert "AUROC undefined (no negative cases)" in lines[0]
    assert lines[1].endswith("AUROC undefined")
    assert not any(sign in line for line in lines for sign in ("{", "None", "auroc_reason"))


def test_untrained_head_writes_nothing_says_why_and_leaves_nothing_stale(fold, lines) -> None:
    write_validation_extras(fold)
    assert written(fold) == ["tss.csv", "tss_summary.json"]
    fold.mgcl_network.tss.trained = torch.tensor(False)
    write_validation_extras(fold)
    assert written(fold) == []
    assert "untrained (checkpoint_best)" in lines[-1]


def test_network_without_a_head_writes_nothing(fold, lines) -> None:
    fold.mgcl_network.tss = None
    write_validation_extras(fold)
    assert written(fold) == [] and lines == []
