"""What three trained and validated folds leave."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnunet_mgcl.data.tss_table import read_tss_table
from nnunet_mgcl.evaluation.runs.tss_validation import write_table
from nnunet_mgcl.plan.plans import resolve_block
from tests.conftest import write_image

NAME = "Dataset901_Tiny"
SHAPE, SPACING = (4, 12, 10), (1.5, 1.0, 5.0)
RUN_CASES = [f"case_{number:02}" for number in range(15)]
SPLITS = [{"train": RUN_CASES[:f] + RUN_CASES[f + 5 :], "val": RUN_CASES[f : f + 5]} for f in (0, 5, 10)]
NO_LESION = "case_05"


def _write_mask(path: Path, array: np.ndarray) -> None:
    write_image(path, array.astype(np.uint8), SPACING)


def _label_map(random: np.random.Generator, highest: int) -> np.ndarray:
    result = np.zeros(SHAPE, np.uint8)
    for label in range(1, highest + 1):
        z, y, x = random.integers((0, 0, 0), (2, 7, 5))
        result[z : z + 3, y : y + 5, x : x + 4] = label
    return result


@pytest.fixture
def write_mask() -> Callable[[Path, np.ndarray], None]:
    """Writes a label map `(Z, Y, X)` as those of `make_run` are written."""
    return _write_mask


@pytest.fixture
def dataset(workspace: Path) -> Path:
    """The preprocessed dataset: split, TSS table (`case_14` unknown) and references (`case_05` without lesion)."""
    preprocessed = workspace / "preprocessed" / NAME
    (preprocessed / "splits_final.json").write_text(json.dumps(SPLITS))
    rows = [f"{case},{number % 2},p{number // 2}" for number, case in enumerate(RUN_CASES[:-1])]
    (preprocessed / "tss.csv").write_text("\n".join(["case,tss_class,patient", *rows, ""]))
    return preprocessed


@pytest.fixture
def make_run(
    dataset: Path, workspace: Path, plans: dict[str, Any], dataset_json: dict[str, Any]
) -> Callable[..., Path]:
    """Writes what three trained folds leave, and returns the results folder."""

    def make(
        trainer: str = "MGCLTrainer",
        labels: dict[str, Any] | None = None,
        seed: int = 0,
        tss: bool = True,
        highest: int = 1,
        folds: tuple[int, ...] = (0, 1, 2),
    ) -> Path:
        model = workspace / "results" / NAME / f"{trainer}__nnUNetPlans__2d"
        json_content, content = dataset_json | (labels or {}), deepcopy(plans)
        if trainer.startswith("MGCL"):
            block = resolve_block(content, "2d", json_content, tss_known=tss)
            content["configurations"]["2d"]["mgcl"] = block.model_dump(mode="json")
        model.mkdir(parents=True)
        (model / "plans.json").write_text(json.dumps(content))
        (model / "dataset.json").write_text(json.dumps(json_content))
        references, predictions = np.random.default_rng(100), np.random.default_rng(seed)
        table = read_tss_table(dataset / "tss.csv", RUN_CASES)
        for case in RUN_CASES:
            reference = _label_map(references, highest) * (case != NO_LESION)
            _write_mask(dataset / "gt_segmentations" / f"{case}.nii.gz", reference)
        for fold in folds:
            validation = model / f"fold_{fold}" / "validation"
            for case in SPLITS[fold]["val"]:
                _write_mask(validation / f"{case}.nii.gz", _label_map(predictions, min(highest, 3)))
            (validation / "summary.json").write_text("{}")
            if tss:
                own = {case: float(predictions.random()) for case in SPLITS[fold]["val"]}
                write_table(validation / "tss.csv", "mrff", {"mrff": own}, table)
            if trainer.startswith("MGCL"):
                _write_phases(model / f"fold_{fold}")
        return model

    return make


def _write_phases(fold: Path) -> None:
    """What the phases and nnU-Net's trainer note: FLAIR had nothing to contrast."""
    (fold / "phases").mkdir(parents=True)
    state = {"done": ["seed/DWI", "coarse/DWI", "coarse/FLAIR"], "skipped": ["coarse/FLAIR"], "current": None}
    (fold / "phases" / "state.json").write_text(json.dumps(state))
    loss, confidence = ["epoch", "training loss"], ["pool case", "confidence"]
    curves = {
        "seed": {"axes": loss, "curves": {"DWI": [0.9, 0.5, 0.3], "FLAIR": [0.8, 0.7, 0.6]}},
        "pseudo_label_1": {"axes": confidence, "curves": {"DWI": [0.9, 0.6], "FLAIR": []}},
        "coarse": {
            "axes": loss,
            "curves": {"DWI": [3.1, 3.0]},
            "beside": {"DWI": {"chance": [3.2, 3.2], "floor": [2.8, 2.9]}},
        },
        "coarse_knn": {
            "axes": ["epoch", "kNN balanced accuracy"],
            "curves": {"DWI": [0.6, 0.8]},
            "at": {"DWI": [0, 2]},
        },
        "segment": {"axes": loss, "curves": {"all branches": [0.5, 0.25]}},
        "pseudo_label_2": {"axes": confidence, "curves": {"DWI": [0.95]}},
        "tss": {"axes": loss, "curves": {"mrff": [0.7, 0.6]}},
    }
    (fold / "phases" / "curves.json").write_text(json.dumps(curves))
    debug = {"torch_version": "2.9.9+fake", "device": "cuda:0", "gpu_name": "A GPU", "cudnn_version": "None",
             "hostname": "secret-host", "output_folder": str(fold)}  # fmt: skip
    (fold / "debug.json").write_text(json.dumps(debug))
