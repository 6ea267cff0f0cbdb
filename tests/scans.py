"""Raw scans as they come from a clinic, and how an image is written."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk


def write_image(
    path: Path, array: np.ndarray, spacing: tuple[float, ...] = (3.0, 3.0, 6.0), direction: np.ndarray | None = None
) -> None:
    """Writes `(Z, Y, X)` as an image."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    if direction is not None:
        image.SetDirection(direction.ravel().tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


@pytest.fixture(scope="session")
def scan_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw scans as they come from a clinic, and `manifest.csv`: FLAIR on its own grid, ADC maps in two units.

    Patients a and b have a mask, drawn on DWI; c has FLAIR only in the manifest, t no row.
    """
    folder = tmp_path_factory.mktemp("scans")
    random = np.random.default_rng(0)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (8, 24, 24)), indexing="ij")
    head = (x / 0.8) ** 2 + (y / 0.9) ** 2 + (z / 0.95) ** 2 < 1
    lesion = (x - 0.3) ** 2 + y**2 + z**2 < 0.1
    for patient, unit in (("a", 1e-6), ("b", 1e-3), ("c", 1e-3), ("t", 1.0)):
        noise = random.normal(1, 0.05, (3, *head.shape))
        scans = {"dwi": head * 100.0 + lesion * 100, "adc": (head * 900.0 - lesion * 500) * unit}
        scans["flair"] = head * 100.0 + lesion * 80
        for (name, values), factor in zip(scans.items(), noise, strict=True):
            values = (values * factor).astype(np.float32)
            part = (slice(None), slice(None, None, 2), slice(None)) if name == "flair" else (...,)
            spacing = (2.0, 4.0, 5.0) if name == "flair" else (2.0, 2.0, 5.0)
            write_image(folder / f"{patient}_{name}.nii.gz", values[part], spacing)
        write_image(folder / f"{patient}_mask.nii.gz", lesion.astype(np.uint8), (2.0, 2.0, 5.0))
    (folder / "manifest.csv").write_text(
        "case,DWI,ADC,FLAIR,mask,tss_hours,patient\n"
        "a,a_dwi.nii.gz,a_adc.nii.gz,a_flair.nii.gz,a_mask.nii.gz,2.5,P\n"
        "b,b_dwi.nii.gz,b_adc.nii.gz,b_flair.nii.gz,b_mask.nii.gz,,Q\n"
        "c,,,c_flair.nii.gz,,,\n"
    )
    return folder


@pytest.fixture
def raw_scans(scan_template: Path, tmp_path: Path) -> Path:
    """A copy of `scan_template` that a test may change."""
    return Path(shutil.copytree(scan_template, tmp_path / "scans"))
