"""Writes synthetic patients as a raw nnU-Net dataset with an unlabelled pool and times since onset."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from nnunet_mgcl.data.dataset_name import check_number_is_free
from nnunet_mgcl.data.images.bit_mask import encode, label_names, lesion_labels
from nnunet_mgcl.phantom.brain.anatomy import Grid
from nnunet_mgcl.phantom.cases import CHANNEL_NUMBERS, Case, all_cases, test_cases, training_cases
from nnunet_mgcl.phantom.image_file import write_array
from nnunet_mgcl.phantom.options import PhantomOptions
from nnunet_mgcl.phantom.patient import draw_patient
from nnunet_mgcl.phantom.scanner.acquisition import CHANNELS, MODALITIES, draw_images
from nnunet_mgcl.phantom.scanner.scene import draw_masks
from nnunet_mgcl.phantom.staging import check_overwrite, staged
from nnunet_mgcl.phantom.stroke.lesion_masks import LesionMasks
from nnunet_mgcl.system.files import write_json, write_text
from nnunet_mgcl.system.workers import run_jobs

FILE_ENDING = ".nii.gz"
OWN_FILES = r"(images(Tr|Ts|Un)|labels(Tr|Ts))/phantom_\w+\.nii\.gz|tss(Ts)?\.csv|dataset\.json|preview\.png"
"""What `--overwrite` may remove."""

DESCRIPTION = (
    "SYNTHETIC. Drawn by `mgcl phantom` from the MNI152 template and a model of stroke MRI to develop and teach with; "
    "no patient, no scanner. Results on it say nothing about clinical performance."
)


def write_phantom(
    parent: Path,
    options: PhantomOptions,
    masks: LesionMasks | None = None,
    *,
    overwrite: bool = False,
    processes: int = 1,
) -> Generator[str, None, None]:
    """Checks the request, then returns a generator that writes one case a step and yields the case's name.

    The dataset appears in `parent` under its own name when the iterator ends, all of it at once.

    Raises:
        UserError: The dataset exists already, or another run writes it.
    """
    target = parent / options.folder
    check = partial(_check, target, overwrite)
    check()
    return _write(target, check, options, masks, processes)


def _write(
    target: Path, check: Callable[[], None], options: PhantomOptions, masks: LesionMasks | None, processes: int
) -> Generator[str, None, None]:
    with staged(target, check) as staging:
        jobs = [(suffix, case) for suffix, cases in all_cases(options).items() for case in cases]
        yield from run_jobs(partial(_write_case, staging, options, masks), jobs, processes)
        _write_tables(staging, options)


def _check(target: Path, overwrite: bool) -> None:
    check_overwrite(target, marker="dataset.json", own=OWN_FILES, overwrite=overwrite)
    check_number_is_free(target)


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
        "phantom": asdict(options) | {"lesion_masks": options.lesion_masks is not None},
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
    write_text(root / "tss.csv", _tss_table(training_cases(options)))
    if options.test:
        # Not in tss.csv, whose cases are the training cases: nobody trains on the test cases' times.
        write_text(root / "tssTs.csv", _tss_table(test_cases(options)))
    write_json(root / "dataset.json", dataset_json(options))


def _tss_table(cases: list[Case]) -> str:
    return "\n".join(["case,tss_hours", *(f"{case.name},{case.hours:.2f}" for case in cases)]) + "\n"
