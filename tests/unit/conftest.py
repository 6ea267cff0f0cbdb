"""A small `FoldContext` on a preprocessed dataset, without a trainer.

Two modalities (A: two channels, B: one), four labelled cases of 4 x 32 x 32 voxels, two pool cases of A and none
of B. The last labelled case has an unknown TSS.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

import nnunet_mgcl.training.variants  # noqa: F401 (the methods register their blocks)
from nnunet_mgcl.data.cases.incomplete import Incomplete
from nnunet_mgcl.data.cases.modality_dataset import sample_class_locations, save_pseudo_label
from nnunet_mgcl.data.layout import DatasetLayout, FoldLayout
from nnunet_mgcl.data.tss_table import TSSRow, TSSTable
from nnunet_mgcl.engine.branches import Branch
from nnunet_mgcl.engine.context import Augmentation, FoldContext
from nnunet_mgcl.plan.build import build_network
from nnunet_mgcl.plan.memory import MemoryEstimate
from nnunet_mgcl.plan.plans import deep_merge, modality_view, resolve_block
from nnunet_mgcl.pretraining.pseudo_label_notes import add_note
from tests.labels import LABELS, MODALITIES

SHAPE = (4, 32, 32)
CASES = {"case_0": True, "case_1": True, "case_2": False, "case_3": None}
"""Labelled cases, and whether their TSS is < 4.5 h."""
LESION = np.s_[1:3, 8:20, 8:20]
"""Of the pseudo-labels."""
POOL = {"A": ["pool_0", "pool_1"], "B": []}

SMALL = {
    "modalities": MODALITIES,
    "seed": {"epochs": 2, "batch_size": 6, "stretch": 1.0},
    "self_train": {"epochs": 2, "batch_size": 6},
    "pseudo_label": {"mirroring": False},
    "coarse": {"epochs": 2, "batch_size": 6, "embedding_dim": 8},
    "fine": {"epochs": 2, "batch_size": 6, "embedding_dim": 8, "patch_size": 8},
    "tss": {"head": "mrff", "compared": [], "epochs": 2, "batch_size": 2, "grid": 2, "heads": 2},
}


@pytest.fixture(autouse=True)
def no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")


@pytest.fixture
def device() -> torch.device:
    """CUDA; `benchmarks/gpu_check.py` tries its tests elsewhere too, by MGCL_TEST_DEVICE."""
    name = os.environ.get("MGCL_TEST_DEVICE", "cuda")
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA")
    return torch.device(name)


@pytest.fixture
def lines() -> list[str]:
    """What the phases logged."""
    return []


@pytest.fixture
def make_context(
    plans: dict[str, Any], dataset_json: dict[str, Any], tmp_path: Path, lines: list[str]
) -> Callable[..., FoldContext]:
    """Builds a context; again with the same arguments, it is what a restarted process would see."""
    return partial(build_context, tmp_path, plans, dataset_json, lines)


def build_context(
    folder: Path,
    plans: dict[str, Any],
    dataset_json: dict[str, Any],
    lines: list[str],
    dimensions: int = 2,
    labels: str = "masks",
    norm: str | None = None,
    pool: dict[str, list[str]] = POOL,
    mgcl: dict[str, Any] | None = None,
    missing: dict[str, list[str]] | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> FoldContext:
    """What `make_context` calls; `phases_rank.py`, which is no test, calls it for one of two ranks."""
    own, json = deepcopy(plans), {**deepcopy(dataset_json), **LABELS[labels]}
    name = "2d" if dimensions == 2 else "3d_fullres"
    configuration = own["configurations"][name]
    configuration |= {"mgcl": deep_merge(SMALL, mgcl or {}), "patch_size": list(SHAPE[-dimensions:])}
    configuration["architecture"]["arch_kwargs"]["features_per_stage"] = [4, 4, 8]
    if norm:
        configuration["architecture"]["arch_kwargs"]["norm_op"] = f"torch.nn.{norm}{dimensions}d"
    own["original_median_shape_after_transp"] = list(SHAPE)
    config = resolve_block(own, name, json, tss_known=True)
    configuration["mgcl"] = config.model_dump(mode="json")

    layout = DatasetLayout(own["dataset_name"], None, folder / own["dataset_name"])
    manager = PlansManager(own)
    labelled = layout.preprocessed / configuration["data_identifier"]
    if not labelled.exists():
        _write_cases(layout, configuration["data_identifier"], manager.get_label_manager(json))
    augmentation = _augmentation(configuration["patch_size"])
    fold = FoldLayout(folder / "fold_0")
    torch.manual_seed(0)
    heads = manager.get_label_manager(json).num_segmentation_heads
    return FoldContext(
        config=config,
        fold=0,
        layout=fold,
        dataset_layout=layout,
        branches=[_branch(own, name, json, modality, config.lesion_labels) for modality in MODALITIES],
        configuration=manager.get_configuration(name),
        memory=MemoryEstimate(own, name, json, config),
        train_cases=list(CASES),
        incomplete=Incomplete([*MODALITIES], missing or {}),
        pool=pool,
        table=TSSTable({c: TSSRow(positive, None, None) for c, positive in CASES.items() if positive is not None}),
        labelled_folder=str(labelled),
        dataset_class=nnUNetDatasetBlosc2,
        ignore_label=manager.get_label_manager(json).ignore_label,
        augmentation=augmentation,
        network=build_network(manager.get_configuration(name), heads, deep_supervision=False),
        device=torch.device("cpu"),
        compiles=False,
        log=lambda line, to_console=True: lines.append(line),
        rank=rank,
        world_size=world_size,
    )


@pytest.fixture
def write_pseudo_labels() -> Callable[..., None]:
    """Writes a round's masks of a branch's pool; `lesion` is the part of each mask that is 1."""

    def write(context: FoldContext, branch: Branch, round_: int, lesion: Any = LESION, confidence: float = 0.9) -> None:
        folder = context.layout.pseudo_labels(round_, branch.name)
        for case in context.pool[branch.name]:
            mask = np.zeros((1, *SHAPE), np.int16)
            if lesion is not None:
                mask[0][lesion] = 1
            locations = sample_class_locations(mask, branch.label_manager)
            save_pseudo_label(folder, case, mask, locations, context.configuration.patch_size)
            add_note(folder, 0, case, confidence if mask.any() else None, int(mask.sum()))

    return write


def _write_cases(layout: DatasetLayout, data_identifier: str, labels: LabelManager) -> None:
    random = np.random.default_rng(0)
    for case in CASES:
        image, mask = _case(random, labels)
        _save(layout.preprocessed / data_identifier / case, image, mask, sample_class_locations(mask, labels))
    for modality, cases in POOL.items():
        for case in cases:
            image, mask = _case(random, labels)
            outside = np.where(mask == -1, -1, 0).astype(np.int16)
            _save(layout.unlabelled(data_identifier, modality) / case, image[MODALITIES[modality]], outside, {})


def _case(random: np.random.Generator, labels: LabelManager) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a bright lesion in every channel; the first rows are outside, a corner is ignored."""
    image = random.normal(size=(3, *SHAPE)).astype(np.float32)
    mask = np.zeros((1, *SHAPE), np.int16)
    for label in labels.all_labels[1:]:
        z, y, x = random.integers((0, 6, 6), (2, 18, 18))
        lesion = np.s_[:, z : z + 2, y : y + 10, x : x + 10]
        mask[lesion] = label
        image[lesion] += 5
    if labels.has_ignore_label:
        mask[:, :, 28:, 28:] = labels.ignore_label
    mask[:, :, :2], image[:, :, :2] = -1, 0
    return image, mask


def _save(path: Path, image: np.ndarray, mask: np.ndarray, locations: dict[Any, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    chunk = {"chunks": (1, *SHAPE), "blocks": (1, 1, *SHAPE[1:])}
    nnUNetDatasetBlosc2.save_case(image, mask, {"class_locations": locations}, str(path), **chunk)


def _augmentation(patch_size: list[int]) -> Augmentation:
    initial = np.array(patch_size)
    initial[-2:] = 40
    return Augmentation(nnUNetTrainer.get_training_transforms, (-0.2, 0.2), False, initial, (0, 1))


def _branch(
    plans: dict[str, Any],
    configuration: str,
    dataset_json: dict[str, Any],
    modality: str,
    masks: dict[str, list[int]] | None,
) -> Branch:
    own = masks[modality] if masks else None
    view, labels = modality_view(plans, configuration, dataset_json, MODALITIES[modality], own)
    manager = PlansManager(view)
    return Branch(modality, MODALITIES[modality], own, manager, manager.get_configuration(configuration), labels)
