"""Writes synthetic patients as a hospital would hand them over: every scan on its own grid, nothing registered."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunet_mgcl.phantom.brain.anatomy import FIELD_OF_VIEW_MM, Grid, Pose
from nnunet_mgcl.phantom.cases import Case, all_cases
from nnunet_mgcl.phantom.dataset import DESCRIPTION, FILE_ENDING
from nnunet_mgcl.phantom.image_file import write_array
from nnunet_mgcl.phantom.options import PAPER_MATRIX, PhantomOptions
from nnunet_mgcl.phantom.patient import draw_patient
from nnunet_mgcl.phantom.scanner.acquisition import CHANNELS, MODALITIES, draw_images
from nnunet_mgcl.phantom.scanner.scene import draw_masks
from nnunet_mgcl.phantom.staging import check_overwrite, staged
from nnunet_mgcl.phantom.stroke.lesion_masks import LesionMasks
from nnunet_mgcl.system.csv_table import write_csv
from nnunet_mgcl.system.files import write_json
from nnunet_mgcl.system.workers import run_jobs

# Section 4.1.1 of the paper: ranges of the voxel size in plane and of the slices' distance in mm, and slices.
NATIVE_GRIDS = {
    "DWI": ((0.893, 1.198), (6.6, 7.3), 18),
    "FLAIR": ((0.411, 0.599), (7.0, 7.3), 18),
    "PWI": ((1.75, 1.75), (4.0, 6.0), 21),
}
# How far the operator places the middle of a scan from that of the others, in mm along x, y and z. Chosen.
PLACEMENT_MM = 6.0
# Scanners' programs disagree about the unit of ADC maps: factors on 10^-6 mm^2/s, by turns.
ADC_FACTORS = (1.0, 1e-3, 1e-6)
MANIFESTS = {"manifest.csv": ("Tr", "Un"), "manifest_test.csv": ("Ts",)}
MANIFEST_COLUMNS = (
    "case",
    *(channel for names in CHANNELS.values() for channel in names),
    *(f"mask_{modality}" for modality in MODALITIES),
    "onset_time",
    "scan_time",
)
OWN_FILES = (
    r"phantom_\w+/(DWI|ADC|FLAIR|Tmax|mask_(DWI|FLAIR|PWI))\.nii\.gz|manifest(_test)?\.csv|phantom\.json|preview\.png"
)
"""What `--overwrite` may remove."""

FIRST_SCAN = datetime(2024, 1, 1, 8, 0)


def scans_folder(options: PhantomOptions) -> str:
    """Name of the folder with the scans."""
    return f"{options.name}_scans"


def write_unregistered(
    parent: Path,
    options: PhantomOptions,
    masks: LesionMasks | None = None,
    *,
    overwrite: bool = False,
    processes: int = 1,
) -> Generator[str, None, None]:
    """Checks the request, then returns a generator that writes one case a step and yields the case's name.

    The folder `<name>_scans` holds one folder a patient and the manifests that `mgcl convert` reads: `manifest.csv`
    for training cases and pool, `manifest_test.csv` for the test cases.

    Raises:
        UserError: The folder exists already, or another run writes it.
    """
    target = parent / scans_folder(options)
    check = partial(check_overwrite, target, marker="phantom.json", own=OWN_FILES, overwrite=overwrite)
    check()
    return _write(target, check, options, masks, processes)


def _write(
    target: Path, check: Callable[[], None], options: PhantomOptions, masks: LesionMasks | None, processes: int
) -> Generator[str, None, None]:
    parts = all_cases(options)
    with staged(target, check) as staging:
        jobs = [(case, part != "Un") for part, cases in parts.items() for case in cases]
        yield from run_jobs(partial(_write_case, staging, options, masks), jobs, processes)
        for name, members in MANIFESTS.items():
            rows = [_row(number, case, part != "Un") for part in members for number, case in enumerate(parts[part])]
            write_csv(staging / name, MANIFEST_COLUMNS, rows)
        content = asdict(options) | {"lesion_masks": options.lesion_masks is not None}
        write_json(staging / "phantom.json", {"description": DESCRIPTION, "phantom": content})


def native_grid(modality: str, options: PhantomOptions, rng: np.random.Generator) -> Grid:
    """Draws the voxel grid of one scan: the paper's at matrix 512, coarser at smaller ones."""
    in_plane, distance, slices = NATIVE_GRIDS[modality]
    step = rng.uniform(*in_plane) * PAPER_MATRIX / options.matrix
    count = max(1, round(slices * options.slices / NATIVE_GRIDS["DWI"][2]))
    thickness = rng.uniform(*distance) * slices / count
    matrix = round(FIELD_OF_VIEW_MM / step)
    return Grid((count, matrix, matrix), (thickness, step, step))


def _write_case(root: Path, options: PhantomOptions, masks: LesionMasks | None, job: tuple[Case, bool]) -> str:
    case, labelled = job
    patient = draw_patient(case, options, masks)
    for modality in case.modalities:
        rng = case.rng(options, modality)
        grid = native_grid(modality, options, rng)
        # The patient has moved since the last scan, and the operator has placed the slices anew.
        centre = rng.normal(0.0, PLACEMENT_MM, size=3).tolist()
        scene = patient.scene(grid, _seen_from(centre, patient.moved(rng)))
        write = partial(_write_scan, root / case.name, grid=grid, centre=centre)
        for channel, image in draw_images(modality, scene, rng).items():
            write(channel, _in_its_unit(image, case) if channel == "ADC" else image)
        if labelled:
            write(f"mask_{modality}", draw_masks(scene)[modality].astype(np.uint8))
    return case.name


def _seen_from(centre: list[float], pose: Pose) -> Pose:
    """The pose relative to an image whose middle lies at `centre`."""
    x, y, z = (s - c for s, c in zip(pose.shift, centre, strict=True))
    return Pose(pose.rotation, (x, y, z))


def _in_its_unit(adc: npt.NDArray[np.int16], case: Case) -> npt.NDArray[Any]:
    factor = ADC_FACTORS[case.stream[1] % len(ADC_FACTORS)]
    return adc if factor == 1 else (adc * factor).astype(np.float32)


def _write_scan(folder: Path, name: str, array: npt.NDArray[Any], grid: Grid, centre: list[float]) -> None:
    write_array(folder / f"{name}{FILE_ENDING}", array, grid, centre)


def _row(number: int, case: Case, labelled: bool) -> dict[str, str]:
    """A line of a manifest, with paths relative to it."""
    row = {"case": case.name}
    for modality in case.modalities:
        row |= {channel: f"{case.name}/{channel}{FILE_ENDING}" for channel in CHANNELS[modality]}
        if labelled:
            row[f"mask_{modality}"] = f"{case.name}/mask_{modality}{FILE_ENDING}"
    if labelled:
        scan = FIRST_SCAN + timedelta(days=number)
        row["onset_time"] = (scan - timedelta(hours=case.hours)).isoformat(sep=" ", timespec="seconds")
        row["scan_time"] = scan.isoformat(sep=" ", timespec="seconds")
    return row
