"""Writes synthetic patients as a hospital would hand them over: every scan on its own grid, nothing registered."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunet_mgcl.phantom.brain.scan import FIELD_OF_VIEW_MM, Grid
from nnunet_mgcl.phantom.cases import CHANNEL_NUMBERS, Case, all_cases
from nnunet_mgcl.phantom.dataset import DESCRIPTION, FILE_ENDING
from nnunet_mgcl.phantom.options import PAPER_MATRIX, PhantomOptions
from nnunet_mgcl.phantom.patient import draw_patient
from nnunet_mgcl.phantom.scanner.acquisition import CHANNELS, MODALITIES, draw_images
from nnunet_mgcl.phantom.scanner.scene import draw_masks
from nnunet_mgcl.phantom.stroke.lesion_masks import LesionMasks
from nnunet_mgcl.phantom.writing import Form, write_array
from nnunet_mgcl.system.csv_table import write_csv
from nnunet_mgcl.system.files import write_json

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
MANIFEST_COLUMNS = ["case", *CHANNEL_NUMBERS, *(f"mask_{name}" for name in MODALITIES), "onset_time", "scan_time"]
FIRST_SCAN = datetime(2024, 1, 1, 8, 0)


def native_grid(modality: str, options: PhantomOptions, rng: np.random.Generator) -> Grid:
    """Draws the voxel grid of one scan: the paper's at matrix 512, coarser at smaller ones."""
    in_plane, distance, slices = NATIVE_GRIDS[modality]
    step = rng.uniform(*in_plane) * PAPER_MATRIX / options.matrix
    count = max(1, round(slices * options.slices / NATIVE_GRIDS["DWI"][2]))
    thickness = rng.uniform(*distance) * slices / count
    matrix = round(FIELD_OF_VIEW_MM / step)
    return Grid((count, matrix, matrix), (thickness, step, step))


def _write_case(root: Path, options: PhantomOptions, masks: LesionMasks | None, job: tuple[str, Case]) -> str:
    part, case = job
    patient = draw_patient(case, options, masks)
    for modality in case.modalities:
        rng = case.rng(options, modality)
        grid = native_grid(modality, options, rng)
        # The patient has moved since the last scan, and the operator has placed the slices anew.
        centre = rng.normal(0.0, PLACEMENT_MM, size=3)
        pose = patient.moved(rng)
        scene = patient.scene(grid, replace(pose, shift=np.subtract(pose.shift, centre)))
        images: dict[str, npt.NDArray[Any]] = draw_images(modality, scene, rng)
        if modality == "DWI":
            images["ADC"] = _in_its_unit(images["ADC"], case)
        if part != "Un":
            images[f"mask_{modality}"] = draw_masks(scene)[modality].astype(np.uint8)
        for name, image in images.items():
            write_array(root / case.name / f"{name}{FILE_ENDING}", image, grid, centre.tolist())
    return case.name


def _in_its_unit(adc: npt.NDArray[np.int16], case: Case) -> npt.NDArray[Any]:
    factor = ADC_FACTORS[case.stream[1] % len(ADC_FACTORS)]
    return adc if factor == 1 else (adc * factor).astype(np.float32)


def _write_tables(root: Path, options: PhantomOptions) -> None:
    cases = all_cases(options)
    for name, parts in MANIFESTS.items():
        rows = [_row(number, case, part != "Un") for part in parts for number, case in enumerate(cases[part])]
        write_csv(root / name, MANIFEST_COLUMNS, rows)
    write_json(root / "phantom.json", {"description": DESCRIPTION, "phantom": options.noted()})


def _row(number: int, case: Case, labelled: bool) -> dict[str, str]:
    """A line of a manifest, with paths relative to it."""
    names = [channel for modality in case.modalities for channel in CHANNELS[modality]]
    times = {}
    if labelled:
        names += [f"mask_{modality}" for modality in case.modalities]
        scan = FIRST_SCAN + timedelta(days=number)
        dates = {"onset_time": scan - timedelta(hours=case.hours), "scan_time": scan}
        times = {column: date.isoformat(sep=" ", timespec="seconds") for column, date in dates.items()}
    return {"case": case.name} | {name: f"{case.name}/{name}{FILE_ENDING}" for name in names} | times


SCANS = Form(
    folder=lambda options: f"{options.name}_scans",
    marker="phantom.json",
    files=r"phantom_\w+/(DWI|ADC|FLAIR|Tmax|mask_(DWI|FLAIR|PWI))\.nii\.gz"
    r"|manifest(_test)?\.csv|phantom\.json|preview\.png",
    write_case=_write_case,
    write_tables=_write_tables,
)
"""One folder a patient and the manifests that `mgcl convert` reads: for training cases and pool, and for test cases."""
