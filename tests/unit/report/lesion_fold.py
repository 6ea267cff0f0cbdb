"""A fold whose cases show a lesion of a known place, for the sections on perception and attention."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np

from nnunet_mgcl.data.layout import DatasetLayout
from nnunet_mgcl.report.analysis.trained_fold import TrainedFold
from tests.conftest import preprocess, write_image
from tests.labels import LABELS, MODALITIES
from tests.unit.report.conftest import untrained_fold

AXIAL = np.eye(3)
SINGLE = {"channel_names": {"0": "DWI"}, "mgcl": {"modalities": {"DWI": [0]}}}
LESION = (15.0, -15.0, 15.0)
"""Middle of the lesion in mm from that of the image: to the patient's left, to the front and up (LPS)."""


def write_case(
    raw: Path, case: str, channels: int, label: int, direction: np.ndarray, size: int = 3, ignored: int | None = None
) -> None:
    """Noise with a bright cube of `size` voxels a side at LESION; a border of zeros on one side is cropped away.

    In the bit mask A is 1 and B is 2; only the channels of a modality that has the lesion show it.
    """
    random = np.random.default_rng(int(case[-1]))
    shape, spacing = np.array((20, 24, 28)), 3.0
    indices = np.stack(np.indices(shape)[::-1], axis=-1)  # x, y, z
    places = (indices - (shape[::-1] - 1) / 2) * spacing @ direction.T
    lesion = (np.abs(places - LESION) <= size * spacing / 2).all(axis=-1)
    labels = (lesion * label).astype(np.uint8)
    if ignored:
        labels[:2] = ignored
    bright = [bool(label & own) for own in (1, 2, 1)]  # the channels of A, B and A
    arrays = [(random.normal(10, 1, shape) + 30 * lesion * own).astype(np.float32) for own in bright[:channels]]
    for number, array in enumerate([*arrays, labels]):
        if number < channels:
            array[:, :, :3] = 0
        name = f"imagesTr/{case}_{number:04}.nii.gz" if number < channels else f"labelsTr/{case}.nii.gz"
        write_image(raw / name, array, (spacing,) * 3, direction)


def lesion_fold(
    folder, plans, dataset_json, labels="masks", cases=None, *, dimensions=2, tss=None, head=True, trained=True,
    known=True, direction=AXIAL, transpose=(0, 1, 2), patch=32, size=3,
) -> TrainedFold:  # fmt: skip
    """A fold with random weights; its `network` is given to it as a checkpoint would.

    `cases`: label of the lesion of each validation case. `tss`: keys of its block. `head`: whether there is one.
    """
    own = SINGLE if labels == "single" else {"mgcl": {"modalities": MODALITIES}} | LABELS[labels]
    content, json_content = deepcopy(plans), deepcopy(dataset_json) | own
    cases = cases or {"case_0": 3 if labels == "masks" else 1}
    channels = len(json_content["channel_names"])
    name = "2d" if dimensions == 2 else "3d_fullres"
    configuration = content["configurations"][name]
    configuration["patch_size"] = [patch] * dimensions
    configuration["spacing"] = [3.0] * dimensions
    configuration["normalization_schemes"] = ["NoNormalization"] * channels
    configuration["use_mask_for_norm"] = [False] * channels
    content |= {"transpose_forward": list(transpose), "transpose_backward": np.argsort(transpose).tolist()}
    content["original_median_shape_after_transp"] = [24, 32, 32]
    configuration["mgcl"] = {"tss": {"head": "mrff", "grid": 2, **(tss or {})}}
    layout = DatasetLayout("Dataset901_Tiny", None, folder / "pre" / "Dataset901_Tiny")
    for case, label in cases.items():
        write_case(folder / "raw", case, channels, label, direction, size, json_content["labels"].get("ignore"))
    preprocess(
        folder / "raw", layout.preprocessed / configuration["data_identifier"], content, json_content, name, cases
    )
    if known:
        rows = [f"{case},{number % 2}" for number, case in enumerate(cases)]
        layout.tss.write_text("\n".join(["case,tss_class", *rows, ""]))
    fold = untrained_fold(layout, content, name, json_content, [{"train": [], "val": list(cases)}], head)
    if fold.network.tss is not None:
        fold.network.tss.trained.fill_(trained)
    return fold
