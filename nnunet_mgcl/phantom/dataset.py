"""Writes synthetic patients as a raw nnU-Net dataset with an unlabelled pool and times since onset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnunet_mgcl.data.dataset_name import check_number_is_free
from nnunet_mgcl.data.images.bit_mask import encode, label_names, lesion_labels
from nnunet_mgcl.phantom.brain.scan import Grid
from nnunet_mgcl.phantom.cases import CHANNEL_NUMBERS, Case, all_cases
from nnunet_mgcl.phantom.options import PhantomOptions
from nnunet_mgcl.phantom.patient import draw_patient
from nnunet_mgcl.phantom.scanner.acquisition import CHANNELS, MODALITIES, draw_images
from nnunet_mgcl.phantom.scanner.scene import draw_masks
from nnunet_mgcl.phantom.stroke.lesion_masks import LesionMasks
from nnunet_mgcl.phantom.writing import Form, write_array
from nnunet_mgcl.system.csv_table import write_csv
from nnunet_mgcl.system.files import write_json

FILE_ENDING = ".nii.gz"
DESCRIPTION = (
    "SYNTHETIC. Drawn by `mgcl phantom` from the MNI152 template and a model of stroke MRI to develop and teach with; "
    "no patient, no scanner. Results on it say nothing about clinical performance."
)


def dataset_json(options: PhantomOptions) -> dict[str, Any]:
    """The content of `dataset.json`: nnU-Net's keys, the plugin's `mgcl`, and the phantom's options."""
    return {
        "channel_names": {str(number): channel for channel, number in CHANNEL_NUMBERS.items()},
        "labels": label_names(MODALITIES),
        "numTraining": options.cases,
        "file_ending": FILE_ENDING,
        "name": options.name,
        "description": DESCRIPTION,
        "mgcl": {
            "modalities": {m: [CHANNEL_NUMBERS[channel] for channel in CHANNELS[m]] for m in MODALITIES},
            "lesion_labels": lesion_labels(MODALITIES),
        },
        "phantom": options.noted(),
    }


def _write_case(root: Path, options: PhantomOptions, masks: LesionMasks | None, job: tuple[str, Case]) -> str:
    suffix, case = job
    grid = Grid.covering(options.matrix, options.slices)
    scene = draw_patient(case, options, masks).scene(grid)
    for modality in case.modalities:
        for channel, image in draw_images(modality, scene, case.rng(options, modality)).items():
            path = root / f"images{suffix}" / f"{case.name}_{CHANNEL_NUMBERS[channel]:04d}{FILE_ENDING}"
            write_array(path, image, grid)
    if suffix != "Un":
        label_map = encode(draw_masks(scene), MODALITIES)
        write_array(root / f"labels{suffix}" / f"{case.name}{FILE_ENDING}", label_map, grid)
    return case.name


def _write_tables(root: Path, options: PhantomOptions) -> None:
    # The test cases are not in tss.csv, whose cases are the training cases: nobody trains on their times.
    for name, part in (("tss.csv", "Tr"), ("tssTs.csv", "Ts")):
        if cases := all_cases(options)[part]:
            rows = [{"case": case.name, "tss_hours": f"{case.hours:.2f}"} for case in cases]
            write_csv(root / name, ("case", "tss_hours"), rows)
    write_json(root / "dataset.json", dataset_json(options))


DATASET = Form(
    folder=lambda options: options.folder,
    marker="dataset.json",
    files=r"(images(Tr|Ts|Un)|labels(Tr|Ts))/phantom_\w+\.nii\.gz|tss(Ts)?\.csv|dataset\.json|preview\.png",
    write_case=_write_case,
    write_tables=_write_tables,
    check=check_number_is_free,
)
"""A raw nnU-Net dataset with `imagesUn` and `tss.csv`."""
