"""A trained fold without its training: random weights where the phases would have left theirs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import pytest
import torch

from nnunet_mgcl.data.layout import DatasetLayout
from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.network.branch import decoder_state, encoder_state
from nnunet_mgcl.plan.build import build_network
from nnunet_mgcl.plan.plans import resolve_block
from nnunet_mgcl.report.analysis import embeddings
from nnunet_mgcl.report.analysis.trained_fold import TrainedFold
from nnunet_mgcl.system.resources import trainers_dir
from tests.unit.report.oriented_run import make_run  # noqa: F401

VALIDATED = ("case_0", "case_2", "case_5")


@pytest.fixture(autouse=True)
def trainers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the phases of a model's trainer are looked up."""
    monkeypatch.setenv("nnUNet_extTrainer", str(trainers_dir()))


@pytest.fixture
def make_fold(
    tiny_dataset: DatasetLayout, plans: dict[str, Any], masks_json: dict[str, Any]
) -> Callable[..., TrainedFold]:
    def make(
        dimensions: int = 2,
        *,
        cases: Sequence[str] = VALIDATED,
        labels: dict[str, Any] | None = None,
        patch_size: Sequence[int] | None = None,
        phases: Sequence[str] = ("coarse", "fine"),
        skipped: Sequence[str] = (),
        patients: dict[str, str] | None = None,
    ) -> TrainedFold:
        """`labels`: other content of dataset.json; `skipped`: e.g. `coarse/DWI`; `patients`: those of tss.csv."""
        own, name = deepcopy(plans), {2: "2d", 3: "3d_fullres"}[dimensions]
        json_content = {**masks_json, **(labels or {})}
        if dimensions == 3:  # of the same spacing
            shutil.copytree(*(tiny_dataset.preprocessed / f"nnUNetPlans_{c}" for c in ("2d", name)))
        own["configurations"][name] |= {"patch_size": list(patch_size or (6, 32, 32)[-dimensions:])}
        own["configurations"][name]["mgcl"] = {"tss": {"enabled": False}, "fine": {"patch_size": 16}}
        if patients:
            rows = [f"{case},1,{patient}" for case, patient in patients.items()]
            tiny_dataset.tss.write_text("\n".join(["case,tss_class,patient", *rows, ""]))
        splits = [{"train": [f"case_{n}" for n in range(6) if f"case_{n}" not in cases], "val": list(cases)}]
        fold = untrained_fold(tiny_dataset, own, name, json_content, splits, tss_known=False)
        _leave(fold, phases, skipped)
        return fold

    return make


def untrained_fold(
    layout: DatasetLayout, plans: dict, name: str, dataset_json: dict, splits: list, tss_known: bool
) -> TrainedFold:
    """A fold beside the dataset, whose `network` of random weights is given to it as a checkpoint would."""
    configuration = plans["configurations"][name]
    configuration["mgcl"] = resolve_block(plans, name, dataset_json, tss_known=tss_known).model_dump(mode="json")
    model = layout.preprocessed.parent / f"MGCLTrainer__nnUNetPlans__{name}"
    (model / "fold_0" / "phases").mkdir(parents=True)
    for file, content in (("plans", plans), ("dataset", dataset_json)):
        (model / f"{file}.json").write_text(json.dumps(content))
    fold = TrainedFold(ValidatedRun(layout, model, splits, [0]), 0, torch.device("cpu"))
    torch.manual_seed(0)
    heads = fold.run.plans.get_label_manager(dataset_json).num_segmentation_heads
    fold.__dict__["network"] = build_network(fold.run.plans.get_configuration(name), heads, False).eval()
    return fold


def embed(fold, branch, name: str) -> embeddings.Cloud:
    """As `embeddings.embed`, of the phase of a name."""
    return embeddings.embed(fold, branch, fold.phase(name))


def _leave(fold: TrainedFold, phases: Sequence[str], skipped: Sequence[str]) -> None:
    """Writes what the phases hand on, and their state."""
    torch.manual_seed(1)
    for phase in phases:
        for branch in fold.branches:
            path = fold.layout.phase(phase, branch.name) / "network.pth"
            path.parent.mkdir(parents=True)
            state = encoder_state if phase == "coarse" else decoder_state
            torch.save(state(branch.build_unet()), path)
    content = {"done": [], "skipped": list(skipped), "current": None}
    fold.layout.state.write_text(json.dumps(content))
