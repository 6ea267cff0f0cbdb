"""Whole trainings of datasets and plans of every kind, in this process: all phases, validation, stock prediction."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_mgcl.engine.context import Branch
from nnunet_mgcl.plan.plans import deep_merge
from nnunet_mgcl.pretraining import pseudo_label
from nnunet_mgcl.pretraining.pseudo_label import label_from_logits
from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer
from tests.conftest import preprocess, write_image
from tests.contract.models import TINY, predictor, voxels

NAME = "Dataset901_Tiny"
CASES = [f"case_{number}" for number in range(6)]
SPLITS = [{"train": [f"case_{n}" for n in (0, 1, 3, 4)], "val": ["case_2", "case_5"]}]
HOURS = dict(zip(CASES, [1, 2, 3, 6, 8], strict=False))
BUDGET = {"coarse": {"batch_size": 12}, "fine": {"batch_size": 4, "patch_size": 8}, "tss": {"batch_size": 4}}


@dataclass
class Variant:
    """How a dataset or plan differs from two channels, one shared label, a pool and five known TSS.

    Attributes:
        labels: Of dataset.json; with regions also their order.
        relabel: The label that each of the eight combinations of the template becomes.
        channels: How many of the template's channels there are.
        modalities: Groups of channels.
        pool: Channels of the unlabelled cases, for each case.
        hours: The TSS table; empty: there is none.
        configuration: What is trained.
        plan: Overlay of the configurations of the plans file.
        edit: Changes image and mask `(Z, Y, X)` of a case, if anything.
        spacing: (z, y, x) in mm.
    """

    labels: dict[str, Any] = field(default_factory=lambda: {"background": 0, "lesion": 1})
    regions_class_order: list[int] | None = None
    relabel: list[int] = field(default_factory=lambda: [0] + 7 * [1])
    channels: int = 2
    modalities: dict[str, list[int]] | None = None
    pool: dict[str, list[int]] = field(default_factory=lambda: {"pool_0": [0, 1], "pool_1": [0]})
    hours: dict[str, float] = field(default_factory=lambda: dict(HOURS))
    configuration: str = "2d"
    plan: dict[str, Any] = field(default_factory=dict)
    edit: Callable[[str, np.ndarray], np.ndarray] = lambda _, volume: volume
    spacing: tuple[float, float, float] = (6.0, 3.0, 3.0)

    def plans(self, plans: dict[str, Any]) -> dict[str, Any]:
        """The plans file."""
        plans = deep_merge(plans, {"configurations": self.plan, "continue_training": False})
        for configuration in plans["configurations"].values():
            for key in {"normalization_schemes", "use_mask_for_norm"} & configuration.keys():
                configuration[key] = configuration[key][: self.channels]
        trained = plans["configurations"][self.configuration]
        trained["mgcl"] = deep_merge(deep_merge(TINY, BUDGET), trained.get("mgcl", {}))
        return plans

    def dataset_json(self, dataset_json: dict[str, Any]) -> dict[str, Any]:
        """dataset.json."""
        names = dict(list(dataset_json["channel_names"].items())[: self.channels])
        keys = {"channel_names": names, "labels": self.labels, "regions_class_order": self.regions_class_order}
        keys |= {"mgcl": {"modalities": self.modalities} if self.modalities else None}
        return dataset_json | {key: value for key, value in keys.items() if value}


@dataclass
class Trained:
    """A finished training."""

    trainer: MGCLTrainer
    log: str
    predicted: np.ndarray

    @property
    def fold(self) -> Path:
        return Path(self.trainer.output_folder)

    def phases(self, phase: str) -> list[str]:
        """Branches for which a phase has left something."""
        return sorted(path.name for path in (self.fold / "phases" / phase).glob("*"))


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation exports and evaluates in threads, since nnU-Net's processes take seconds to start."""
    pools = SimpleNamespace(get_context=lambda _: SimpleNamespace(Pool=lambda _: ThreadPool(1)))
    for module in ("training.nnUNetTrainer.nnUNetTrainer", "evaluation.evaluate_predictions"):
        monkeypatch.setattr(f"nnunetv2.{module}.multiprocessing", pools)


@pytest.fixture
def visible_lesions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lesion in every pseudo-label: networks of one epoch draw masks of one class, which nothing contrasts."""

    def label(branch: Branch, logits: torch.Tensor) -> tuple[np.ndarray, float | None]:
        segmentation, _ = label_from_logits(branch, logits)
        segmentation[:] = 0
        segmentation[:2, 8:16, 8:16] = 1
        return segmentation, 0.9

    monkeypatch.setattr(pseudo_label, "label_from_logits", label)


@pytest.fixture
def train(
    tiny_template: Path,
    workspace: Path,
    plans: dict[str, Any],
    dataset_json: dict[str, Any],
    no_pictures: None,
    threads: None,
    visible_lesions: None,
) -> Callable[[Variant], Trained]:
    def train(variant: Variant) -> Trained:
        raw, preprocessed = workspace / "raw" / NAME, workspace / "preprocessed" / NAME
        content, json_content = variant.plans(plans), variant.dataset_json(dataset_json)
        shutil.rmtree(preprocessed)
        _write_raw(tiny_template, raw, variant)
        data = preprocessed / PlansManager(deepcopy(content)).get_configuration(variant.configuration).data_identifier
        preprocess(raw, data, content, json_content, variant.configuration)
        shutil.copytree(raw / "labelsTr", preprocessed / "gt_segmentations")
        for folder in (raw, preprocessed):
            (folder / "dataset.json").write_text(json.dumps(json_content))
        (preprocessed / "splits_final.json").write_text(json.dumps(SPLITS))
        (preprocessed / "dataset_fingerprint.json").write_text("{}")
        trainer = MGCLTrainer(content, variant.configuration, 0, deepcopy(json_content), torch.device("cpu"))
        trainer.run_training()
        trainer.perform_actual_validation()
        # A validation case, by the stock predictor from nothing but the results folder.
        files = [[str(raw / "imagesTr" / f"case_2_{channel:04}.nii.gz") for channel in range(variant.channels)]]
        output = trainer.output_folder_base + "/predicted"
        stock = predictor(trainer.output_folder_base, nnUNetPredictor, (0,))
        stock.predict_from_files_sequential(files, [output], overwrite=True)
        return Trained(trainer, Path(trainer.log_file).read_text(), voxels(Path(output + ".nii.gz")))

    return train


def _write_raw(template: Path, raw: Path, variant: Variant) -> None:
    def copy(source: str, target: str, relabel: list[int] | None = None) -> None:
        volume = voxels(template / source)
        volume = variant.edit(Path(target).name[:6], np.array(relabel, np.uint8)[volume] if relabel else volume)
        write_image(raw / target, volume, variant.spacing[::-1])

    for case in CASES:
        copy(f"labelsTr/{case}.nii.gz", f"labelsTr/{case}.nii.gz", variant.relabel)
        for channel in range(variant.channels):
            name = f"imagesTr/{case}_{channel:04}.nii.gz"
            copy(name, name)
    for case, channels in variant.pool.items():
        for channel in channels:
            copy(f"imagesUn/pool_0_{channel:04}.nii.gz", f"imagesUn/{case}_{channel:04}.nii.gz")
    if variant.hours:
        rows = [f"{case},{hours}" for case, hours in variant.hours.items()]
        (raw / "tss.csv").write_text("\n".join(["case,tss_hours", *rows, ""]))


def _with_slices(case: str, volume: np.ndarray) -> np.ndarray:
    """case_0 has one slice, case_1 half of them, case_2 twice as many (b is 6)."""
    return {"case_0": volume[2:3], "case_1": volume[1:4], "case_2": np.repeat(volume, 2, axis=0)}.get(case, volume)


def _isotropic(_: str, volume: np.ndarray) -> np.ndarray:
    return np.repeat(volume, 3, axis=0)[:, :18, 6:24]


def assert_finished(trained: Trained, labels: set[int], branches: list[str], pool: list[str], cases: int) -> None:
    """What every variant has in common."""
    assert sorted(trained.trainer.config.modalities) == branches
    assert trained.phases("seed") == trained.phases("pseudo_label_2") == pool
    assert trained.phases("coarse") == trained.phases("fine") == branches
    for branch in branches:
        origin = "self_train and coarse and fine" if branch in pool else "coarse and fine"
        assert f"MGCL: segment {branch}: starts from {origin} " in trained.log
        line = f"MGCL: {branch}: no unlabelled cases, contrasting the labelled training cases"
        assert trained.log.count(line) == (branch not in pool)
    summary = json.loads((trained.fold / "validation" / "summary.json").read_text())
    assert len(summary["metric_per_case"]) == 2
    assert set(np.unique(trained.predicted)) <= labels
    head = trained.trainer.mgcl_network.tss
    assert (head is not None and bool(head.trained)) == bool(cases)
    assert (trained.fold / "validation" / "tss.csv").exists() == bool(cases)
    assert f"MGCL: tss lesion: {cases} cases with a known TSS" in trained.log or not cases


def test_one_channel_without_tss_and_pool(train) -> None:
    trained = train(Variant(channels=1, pool={}, hours={}))
    assert_finished(trained, {0, 1}, ["DWI"], [], 0)
    assert trained.trainer.mgcl_network.fusion.weight is None


def test_several_classes_and_a_tss_for_half_of_the_cases(train) -> None:
    known = {case: HOURS[case] for case in ("case_0", "case_2", "case_3")}
    trained = train(Variant({"background": 0, "core": 1, "rim": 2}, relabel=[0, 1, 2, 1, 2, 1, 2, 1], hours=known))
    assert_finished(trained, {0, 1, 2}, ["DWI", "FLAIR"], ["DWI", "FLAIR"], 2)
    assert json.loads((trained.fold / "validation" / "tss_summary.json").read_text())["cases"] == 1
    summary = json.loads((trained.fold / "validation" / "summary.json").read_text())
    assert set(summary["mean"]) == {"1", "2"}


def test_channel_groups_of_which_one_has_no_unlabelled_case(train) -> None:
    trained = train(Variant(channels=3, modalities={"DWI": [0, 1], "PWI": [2]}, pool={"pool_0": [2], "pool_1": [2]}))
    assert_finished(trained, {0, 1}, ["DWI", "PWI"], ["PWI"], 4)
    stems = [branch.encoder.stages[0][0].convs[0].conv for branch in trained.trainer.mgcl_network.branches]
    assert [stem.in_channels for stem in stems] == [2, 1]


def test_regions_with_an_ignore_label(train) -> None:
    labels = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    trained = train(Variant(labels, [1, 2], relabel=[0, 1, 2, 1, 2, 1, 2, 3]))
    assert_finished(trained, {0, 1, 2}, ["DWI", "FLAIR"], ["DWI", "FLAIR"], 4)
    summary = json.loads((trained.fold / "validation" / "summary.json").read_text())
    assert set(summary["mean"]) == {"(1, 2)", "2"}


def test_volumes_with_one_slice_fewer_and_more_than_b(train) -> None:
    trained = train(Variant(edit=_with_slices))
    assert trained.trainer.config.tss.slices == 6
    assert_finished(trained, {0, 1}, ["DWI", "FLAIR"], ["DWI", "FLAIR"], 4)
    assert trained.predicted.shape == (12, 32, 32)


def test_hand_edited_configuration_that_inherits(train) -> None:
    inherited = {"2d": {"mgcl": {"coarse": {"temperature": 0.2}}}}
    trained = train(Variant(configuration="2d_heir", plan=inherited))
    assert_finished(trained, {0, 1}, ["DWI", "FLAIR"], ["DWI", "FLAIR"], 4)
    assert trained.trainer.config.coarse.temperature == 0.2 and trained.trainer.batch_size == 3
    assert trained.fold.parent.name.endswith("__2d_heir")


ISOTROPIC = {
    "3d_fullres": {
        "spacing": [3.0, 3.0, 3.0],
        "patch_size": [16, 16, 16],
        "median_image_size_in_voxels": [18, 18, 18],
        "architecture": {"arch_kwargs": {"strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]]}},
    }
}
LOWRES = {
    "3d_lowres": {
        "inherits_from": "3d_fullres",
        "data_identifier": "nnUNetPlans_3d_lowres",
        "spacing": [6.0, 6.0, 6.0],
        "patch_size": [6, 16, 16],
        "median_image_size_in_voxels": [6, 16, 16],
        "next_stage": "3d_lowres",  # its own data stand for those of a next stage
    }
}


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"configuration": "3d_fullres"}, (6, 32, 32)),
        ({"configuration": "3d_fullres", "plan": ISOTROPIC, "edit": _isotropic, "spacing": (3.0,) * 3}, (18, 18, 18)),
        ({"configuration": "3d_lowres", "plan": LOWRES}, (6, 32, 32)),
    ],
    ids=["anisotropic", "isotropic", "lowres"],
)
def test_3d(train, options, shape) -> None:
    trained = train(Variant(**options))
    assert_finished(trained, {0, 1}, ["DWI", "FLAIR"], ["DWI", "FLAIR"], 4)
    assert trained.predicted.shape == shape
    assert trained.trainer.config.tss.slices == trained.trainer.configuration_manager.patch_size[0]


@pytest.mark.slow
def test_compiled_phases(train, monkeypatch) -> None:
    """nnU-Net compiles on CUDA only; what is compiled there can be compiled here."""
    monkeypatch.setattr(MGCLTrainer, "_do_i_compile", lambda _: True)
    monkeypatch.setenv("nnUNet_compile", "t")  # the predictor does as it is told
    trained = train(Variant())
    assert trained.trainer.context.compiles
    assert_finished(trained, {0, 1}, ["DWI", "FLAIR"], ["DWI", "FLAIR"], 4)
