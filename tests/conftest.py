"""Fixtures that several test folders share. Small on purpose: all are made within a second.

`plans`, `dataset_json` and `masks_json` are dicts that a test may change; `tiny_dataset` is a dataset on disk that
fits them.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import shutil
import tempfile
from collections.abc import Callable, Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnunet_mgcl.data.layout import DatasetLayout
from nnunet_mgcl.evaluation.statistics import intervals
from nnunet_mgcl.system.errors import UserError
from tests.scans import raw_scans, scan_template, write_image  # noqa: F401 (fixtures, and what tests import from here)

Change = Callable[[np.ndarray], np.ndarray]


def _architecture(strides: list[list[int]]) -> dict[str, Any]:
    stages, dimensions = len(strides), len(strides[0])
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": [4, 8, 16, 32][:stages],
            "conv_op": f"torch.nn.modules.conv.Conv{dimensions}d",
            "kernel_sizes": [[3] * dimensions] * stages,
            "strides": strides,
            "n_conv_per_stage": [1] * stages,
            "n_conv_per_stage_decoder": [1] * (stages - 1),
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimensions}d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def _configuration(name: str, batch_size: int, strides: list[list[int]]) -> dict[str, Any]:
    last = slice(-len(strides[0]), None)
    resampling: dict[str, Any] = {}
    for kind, is_seg, order in (("data", False, 3), ("seg", True, 1), ("probabilities", False, 1)):
        kwargs = {"is_seg": is_seg, "order": order, "order_z": 0, "force_separate_z": None}
        resampling[f"resampling_fn_{kind}"] = "resample_data_or_seg_to_shape"
        resampling[f"resampling_fn_{kind}_kwargs"] = kwargs
    return {
        "data_identifier": f"nnUNetPlans_{name}",
        "preprocessor_name": "DefaultPreprocessor",
        "normalization_schemes": ["ZScoreNormalization", "CTNormalization", "NoNormalization"],
        "use_mask_for_norm": [True, False, False],
        "batch_dice": True,
        "batch_size": batch_size,
        "patch_size": [6, 32, 32][last],
        "median_image_size_in_voxels": [6.0, 32.0, 32.0][last],
        "spacing": [6.0, 3.0, 3.0][last],
        "architecture": _architecture(strides),
        **resampling,
    }


@pytest.fixture
def dataset_json() -> dict[str, Any]:
    """Three channels and one shared lesion label."""
    return {
        "channel_names": {"0": "DWI", "1": "FLAIR", "2": "PWI"},
        "labels": {"background": 0, "lesion": 1},
        "numTraining": 6,
        "file_ending": ".nii.gz",
    }


@pytest.fixture
def masks_json(dataset_json: dict[str, Any]) -> dict[str, Any]:
    """The same channels with a mask for each modality, stored as a bit mask (DWI 1, FLAIR 2, PWI 4)."""
    names = ["background", "DWI", "FLAIR", "DWI+FLAIR", "PWI", "DWI+PWI", "FLAIR+PWI", "DWI+FLAIR+PWI"]
    dataset_json["labels"] = {name: value for value, name in enumerate(names)}
    dataset_json["mgcl"] = {
        "modalities": {"DWI": [0], "FLAIR": [1], "PWI": [2]},
        "lesion_labels": {"DWI": [1, 3, 5, 7], "FLAIR": [2, 3, 6, 7], "PWI": [4, 5, 6, 7]},
    }
    return dataset_json


@pytest.fixture
def plans() -> dict[str, Any]:
    """A plans file as nnU-Net writes it, for 32 x 32 x 6 volumes of three channels, with tiny networks.

    Besides `2d` and `3d_fullres` it has a cascade (`3d_cascade_fullres`) and a heir of `2d` (`2d_heir`).
    """
    intensity = {
        str(channel): {"mean": 10.0 * channel, "std": 1.0 + channel, "percentile_00_5": -50.0, "percentile_99_5": 50.0}
        for channel in range(3)
    }
    return {
        "dataset_name": "Dataset901_Tiny",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [6.0, 3.0, 3.0],
        "original_median_shape_after_transp": [6, 32, 32],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {
            "2d": _configuration("2d", 12, [[1, 1], [2, 2], [2, 2]]),
            "2d_heir": {"inherits_from": "2d", "batch_size": 3},
            "3d_fullres": _configuration("3d_fullres", 2, [[1, 1, 1], [1, 2, 2], [2, 2, 2]]),
            "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
        },
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": intensity,
    }


STOCK = {
    "2d": ([512, 512], [32, 64, 128, 256, 512, 512, 512, 512], [[1, 1]] + [[2, 2]] * 7),
    "3d_fullres": ([128, 128, 128], [32, 64, 128, 256, 320, 320], [[1, 1, 1]] + [[2, 2, 2]] * 5),
}
"""Patch size, features and strides that nnU-Net plans for 8 GB."""


@pytest.fixture
def large(plans: dict[str, Any]) -> dict[str, Any]:
    """`plans` with the networks of `STOCK`."""
    for name, (patch_size, features, strides) in STOCK.items():
        stages, dimensions = len(strides), len(patch_size)
        plans["configurations"][name]["patch_size"] = patch_size
        plans["configurations"][name]["architecture"]["arch_kwargs"] |= {
            "n_stages": stages, "features_per_stage": features, "strides": strides,
            "kernel_sizes": [[3] * dimensions] * stages,
            "n_conv_per_stage": [2] * stages, "n_conv_per_stage_decoder": [2] * (stages - 1),
        }  # fmt: skip
    return plans


TINY_SHAPE = (6, 32, 32)
TINY_CASES = [f"case_{number}" for number in range(6)]
TINY_POOL = {"pool_0": [0, 1, 2], "pool_1": [0], "pool_2": [1, 2], "case_0": [0, 2]}
"""Channels of each unlabelled case; one carries the name of a labelled case on purpose."""


def _tiny_case(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Three channels `(3, Z, Y, X)` of noise with bright lesions, and their bit mask `(Z, Y, X)`."""
    labels = np.zeros(TINY_SHAPE, np.uint8)
    images = random.normal(10, 1, size=(3, *TINY_SHAPE)).astype(np.float32)
    for channel in range(3):
        z, y, x = random.integers((1, 4, 4), (4, 20, 20))
        lesion = (slice(z, z + 2), slice(y, y + 8), slice(x, x + 8))
        labels[lesion] += 2**channel
        images[channel][lesion] += 10
    return images, labels


Once = Callable[[str, Path, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """`once(name, target, build)` copies a folder to `target`; the first caller of the name builds it."""
    made = tmp_path_factory.mktemp("once")

    def copy(name: str, target: Path, build: Callable[[Path], object]) -> Path:
        if not (made / name).exists():
            part = Path(tempfile.mkdtemp(dir=made))  # one each, since a build may copy another folder
            build(part)
            part.rename(made / name)
        return Path(shutil.copytree(made / name, target, dirs_exist_ok=True))

    return copy


@pytest.fixture(scope="session")
def tiny_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The raw part of `tiny_dataset`, written once."""
    raw = tmp_path_factory.mktemp("tiny") / "Dataset901_Tiny"
    random = np.random.default_rng(0)
    for case in TINY_CASES:
        images, labels = _tiny_case(random)
        for channel in range(3):
            write_image(raw / "imagesTr" / f"{case}_{channel:04}.nii.gz", images[channel])
        write_image(raw / "labelsTr" / f"{case}.nii.gz", labels)
    for case, channels in TINY_POOL.items():
        images, _ = _tiny_case(random)
        for channel in channels:
            write_image(raw / "imagesUn" / f"{case}_{channel:04}.nii.gz", images[channel])
    rows = [f"{case},{hours}" for case, hours in zip(TINY_CASES, [1, 2, 3, 6, 8], strict=False)]
    (raw / "tss.csv").write_text("\n".join(["case,tss_hours", *rows, ""]))
    return raw


def preprocess(
    raw: Path, data: Path, plans: dict, dataset_json: dict, configuration: str = "2d", cases: Iterable[str] = TINY_CASES
) -> None:
    """Preprocesses labelled cases as nnU-Net does, into the folder `data`."""
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(deepcopy(plans))
    data.mkdir(parents=True, exist_ok=True)
    for case in cases:
        DefaultPreprocessor(verbose=False).run_case_save(
            str(data / case),
            [str(raw / "imagesTr" / f"{case}_{int(channel):04}.nii.gz") for channel in dataset_json["channel_names"]],
            str(raw / "labelsTr" / f"{case}.nii.gz"),
            manager,
            manager.get_configuration(configuration),
            dataset_json,
        )


@pytest.fixture
def tiny_dataset(
    tiny_template: Path, once: Once, tmp_path: Path, plans: dict[str, Any], masks_json: dict[str, Any]
) -> DatasetLayout:
    """A dataset of six labelled cases with a mask for each modality, four unlabelled cases and a TSS table.

    It is preprocessed by nnU-Net for `2d` (and so for `2d_heir`); the last case has an unknown TSS.
    """
    name = tiny_template.name
    layout = DatasetLayout(name, tmp_path / "raw" / name, tmp_path / "preprocessed" / name)
    shutil.copytree(tiny_template, layout.raw)
    kind = hashlib.sha256(json.dumps([plans, masks_json]).encode()).hexdigest()
    data = layout.preprocessed / "nnUNetPlans_2d"
    once(kind, data, lambda folder: preprocess(tiny_template, folder, plans, masks_json))
    for path in (layout.raw / "dataset.json", layout.dataset_json):
        path.write_text(json.dumps(masks_json))
    layout.plans("nnUNetPlans").write_text(json.dumps(plans))
    return layout


def rewrite_case(
    folder: Path, case: str, image: Change = np.asarray, mask: Change = np.asarray, labels: list[int] | None = None
) -> None:
    """Changes the image and the mask `(C, Z, Y, X)` of a preprocessed case, whose labels become `labels`."""
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    data, seg, _, properties = nnUNetDatasetBlosc2(str(folder), [case]).load_case(case)
    data, seg = image(data[:]), mask(seg[:])
    labels = labels or list(properties["class_locations"])
    properties["class_locations"] = {label: np.argwhere(seg == label) for label in labels}
    for path in folder.glob(f"{case}*"):
        path.unlink()
    parts = {"chunks": (1, *data.shape[1:]), "blocks": (1, 1, *data.shape[2:])}
    nnUNetDatasetBlosc2.save_case(data, seg, properties, str(folder / case), **parts)


@pytest.fixture
def converting_here(monkeypatch) -> None:
    """`mgcl convert` without worker processes and pictures, which cost seconds."""
    from nnunet_mgcl.convert.case import convert_case
    from nnunet_mgcl.system.files import write_text
    from nnunet_mgcl.system.workers import run_here

    def here(jobs, _):
        return ((job.row.case, run_here(convert_case, job)) for job in jobs)

    monkeypatch.setattr("nnunet_mgcl.convert.run.convert_cases", here)
    monkeypatch.setattr("nnunet_mgcl.convert.case.draw_case", lambda path, *_, **__: write_text(path, "picture"))


@pytest.fixture
def few_resamples(monkeypatch) -> None:
    """For tests of what is computed, not of how exactly."""
    monkeypatch.setattr(intervals, "RESAMPLES", 60)


@pytest.fixture
def mark(tmp_path):
    """The folder that is there once the code has run."""
    path = tmp_path / "run"
    yield path
    assert not path.exists()


@pytest.fixture
def refused_elsewhere() -> Callable[[Callable[[], Any]], str]:
    """Calls a function in another process, and returns what that found wrong; "" where it went through."""

    def refused(function: Callable[[], Any]) -> str:
        fork = multiprocessing.get_context("fork")
        said = fork.SimpleQueue()

        def call() -> None:
            try:
                function()
            except UserError as error:
                said.put(error.found)
            else:
                said.put("")

        process = fork.Process(target=call)
        process.start()
        process.join()
        return said.get()

    return refused
