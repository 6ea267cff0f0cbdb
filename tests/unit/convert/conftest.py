"""DICOM series with what hospitals leave in them, and whole runs on scans of `raw_scans`, in this process."""

from __future__ import annotations

import json
import locale
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_mgcl.convert.dataset import convert_dataset
from nnunet_mgcl.convert.manifest.table import read_manifest
from nnunet_mgcl.convert.output import case_files
from nnunet_mgcl.convert.settings import Options, Settings

PATIENT = "DOE^JANE"
GAP = 5.0
SPACING = (1.5, 1.25, GAP)
ORIGIN = np.array([-10.0, 20.0, 30.0])
DIRECTION = np.reshape(sitk.VersorRigid3DTransform((0.1, 0.2, 0.05, 0.95)).GetMatrix(), (3, 3))
"""Oblique, so that a wrong axis shows."""


def _write_slice(path: Path, values: np.ndarray, height: float, tags: dict[str, str]) -> None:
    """One MR image of classic DICOM; `height` in mm along the slices' normal."""
    image = sitk.GetImageFromArray(values[None].astype(np.float32))
    image.SetSpacing(SPACING)
    image.SetDirection(DIRECTION.ravel())
    position = ORIGIN + DIRECTION[:, 2] * height
    image.SetOrigin(position)
    fixed = {
        "0008|0008": "ORIGINAL\\PRIMARY",
        "0008|0016": "1.2.840.10008.5.1.4.1.1.4",
        "0008|0060": "MR",
        "0010|0010": PATIENT,
        "0020|0032": "\\".join(f"{value:.6f}" for value in position),
        "0020|0037": "\\".join(f"{value:.8f}" for value in [*DIRECTION[:, 0], *DIRECTION[:, 1]]),
        "0028|0100": "16", "0028|0101": "16", "0028|0102": "15", "0028|0103": "0",
        "0028|1052": "0", "0028|1053": "0.5",
    }  # fmt: skip
    for tag, value in (fixed | tags).items():
        image.SetMetaData(tag, value)
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    before = locale.setlocale(locale.LC_ALL)
    writer.Execute(image)
    locale.setlocale(locale.LC_ALL, before)  # GDCM leaves "C", and Python then reads text as ASCII


@pytest.fixture
def values() -> np.ndarray:
    """`(slices, rows, columns)`: multiples of 0.5, which the rescale slope of 0.5 keeps exactly."""
    return np.random.default_rng(0).integers(0, 2000, (5, 12, 10)) * 0.5


@pytest.fixture
def image(values) -> sitk.Image:
    """The same as whole numbers, with the series' geometry."""
    image = sitk.GetImageFromArray(values.astype(np.int16))
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    image.SetDirection(DIRECTION.ravel())
    return image


@pytest.fixture
def write_series() -> Callable[..., Path]:
    """Writes a volume as a DICOM series, its files named so that their order says nothing; returns the folder."""

    def write(
        folder: Path, values: np.ndarray, *, series: str = "1.2.3", first: int = 0, ending: str = ".dcm",
        heights: np.ndarray | None = None, **tags: str,
    ) -> Path:  # fmt: skip
        heights = GAP * np.arange(len(values)) if heights is None else heights
        for number, (plane, height) in enumerate(zip(values, heights, strict=True), start=first):
            own = {"0020|000e": series, "0008|0018": f"{series}.{number}", "0020|0013": str(number), "0020|0011": "7"}
            path = folder / f"im{(number * 7) % 10}_{series}_{number}{ending}"
            _write_slice(path, plane, height, own | {tag.replace("_", "|"): value for tag, value in tags.items()})
        return folder

    return write


class Run:
    """Converts the manifest in `folder` again and again."""

    def __init__(self, folder: Path, raw: Path) -> None:
        self.manifest, self.raw = folder / "manifest.csv", raw
        self.dataset = raw / "Dataset501_Stroke"
        self.lines: list[str] = []

    def __call__(self, *, manifest: Path | None = None, **changes):
        options = {key: changes.pop(key) for key in ("incomplete", "accept", "test") if key in changes}
        options = Options(self.raw, 501, "Stroke", replace(Settings((), {}, reference="none"), **changes), **options)
        self.lines.clear()
        manifest = read_manifest(manifest or self.manifest, self.lines.append)
        return convert_dataset(manifest, options, self.lines.append, lambda results, _: results)

    def edit(self, old: str, new: str) -> None:
        text = self.manifest.read_text()
        assert old in text
        self.manifest.write_text(text.replace(old, new))

    def files(self) -> dict[str, tuple[int, bytes]]:
        paths = [path for path in self.dataset.rglob("*") if path.is_file() and path.name != ".lock"]
        return {str(p.relative_to(self.dataset)): (p.stat().st_mtime_ns, p.read_bytes()) for p in paths}

    def names(self) -> list[str]:
        return sorted(name for name in self.files() if name.startswith(case_files.FOLDERS))

    def json(self) -> dict:
        return json.loads((self.dataset / "dataset.json").read_text())

    def image(self, name: str) -> sitk.Image:
        return sitk.ReadImage(str(self.dataset / f"{name}.nii.gz"))


@pytest.fixture
def run(raw_scans, tmp_path, monkeypatch, converting_here) -> Run:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # nor does it wait for the disk
    return Run(raw_scans, tmp_path / "raw")
