"""Reads one scan or mask from any source into a clean 3D image: voxels and geometry, no text of the header."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from nnunet_mgcl.convert.manifest.channels import is_adc, is_dwi, is_perfusion
from nnunet_mgcl.convert.registration.grid import Grid
from nnunet_mgcl.convert.scans import diffusion
from nnunet_mgcl.convert.scans.dicom import Slice, pick_series, spacing_mistake
from nnunet_mgcl.convert.scans.dicom_stack import arrange, read_volume
from nnunet_mgcl.data.images import checks
from nnunet_mgcl.system.errors import UserError, reason

_KEPT_TYPES = (sitk.sitkInt8, sitk.sitkUInt8, sitk.sitkInt16, sitk.sitkUInt16, sitk.sitkFloat32)
_NOT_ORTHONORMAL = 1e-3
_ONE_PLACE_MM = 0.5
_DAMAGED = (EOFError, OSError, MemoryError, zlib.error, ImageFileError, HeaderDataError)
"""What gzip and nibabel raise."""

DwiVolume = str | int | None
"""Which of several diffusion-weighted volumes is taken: `last`, or its number from 1."""


def read_scan(source: str, *, channel: str, dwi_volume: DwiVolume = None) -> tuple[sitk.Image, list[str]]:
    """Reads the scan of one channel.

    Args:
        source: A file that ends as in `WITH_GEOMETRY`, a folder of DICOM files, or `folder#SeriesInstanceUID`.
        channel: Its name says what a scan with several volumes is.
        dwi_volume: The one to take.

    Returns:
        A 3D scalar image (integers of up to 16 bit as they are, else float32) without metadata, and what was decided
        about it.

    Raises:
        UserError: The source is missing, damaged, or is not one 3D image of finite values that differ.
    """
    image, notes = _read(source, channel, dwi_volume)
    if image.GetPixelID() not in _KEPT_TYPES:
        image = sitk.Cast(image, sitk.sitkFloat32)
    values = sitk.GetArrayViewFromImage(image)
    notes += _check_finite(source, values, channel)
    if np.isnan(values).any():
        image = Grid.of(image).image(np.nan_to_num(values))
        values = sitk.GetArrayViewFromImage(image)
    if values.min() == values.max():
        raise UserError(source, f"the value {values.flat[0]:g} in every voxel", "a scan", "replace the file")
    mistake = checks.value_mistake(checks.z_scored(values)[None])
    _refuse(source, mistake, "export the scan again, or rescale its values")
    return image, notes


def read_mask(source: str) -> sitk.Image:
    """Reads a mask of whole-numbered labels, uint8 or (above 255) uint16, without metadata.

    Raises:
        UserError: The source is missing, damaged, not one 3D image, or has values that are no labels.
    """
    image, _ = _read(source, "the mask", None)
    labels = np.unique(sitk.GetArrayViewFromImage(image)).astype(np.float64)
    whole = np.rint(labels)  # a scaled header may give 0.9999999; NaN is no label either
    odd = labels[~((np.abs(labels - whole) < 1e-3) & (whole >= 0) & (whole <= 65535))]
    if odd.size:
        found = "the values " + ", ".join(f"{value:g}" for value in odd[:3]) + (", ..." if odd.size > 3 else "")
        remedy = "threshold the mask, or name the right file"
        raise UserError(source, found, "whole-numbered labels, 0 = background", remedy)
    kind = sitk.sitkUInt8 if whole.max() < 256 else sitk.sitkUInt16
    return sitk.Cast(sitk.Round(sitk.Cast(image, sitk.sitkFloat64)), kind)


def read_grid(source: str, *, channel: str, dwi_volume: DwiVolume = None) -> Grid | None:
    """The grid of a scan or mask by its header; None for a DICOM series, of which only the order is looked at.

    Args:
        source: As for `read_scan`.
        channel: Also as there.
        dwi_volume: Also as there.

    Raises:
        UserError: The header says that this is no 3D image.
    """
    with _opening(source, channel) as (path, series):
        if path.is_dir():
            _pick_volume(source, pick_series(path, series), channel, dwi_volume)
            return None
        reader, _ = _open(source, path, channel, dwi_volume)
        direction = np.reshape(reader.GetDirection(), (reader.GetDimension(),) * 2)[:3, :3]
        place = (reader.GetSize()[:3], reader.GetSpacing()[:3], reader.GetOrigin()[:3])
        return Grid(*place, tuple(direction.ravel().tolist()))


@contextmanager
def _opening(source: str, channel: str) -> Iterator[tuple[Path, str | None]]:
    """Yields path and SeriesInstanceUID of a source, and turns what its readers raise into one message."""
    path, series = Path(source), None
    if "#" in source and not path.exists():
        folder, _, series = source.rpartition("#")
        path = Path(folder)
    if not path.exists():
        raise UserError(source, "no such file or folder", f"a file or DICOM folder for {channel}", "mend the path")
    try:
        yield path, series
    except (RuntimeError, OSError) as error:
        found = f"cannot be read, perhaps damaged or of another format than its name says ({reason(error)})"
        raise UserError(source, found, "an image that SimpleITK reads", "replace the file") from None


def _refuse(
    source: str, mistake: checks.Mistake | None, remedy: str = "mend the header, or export the scan again"
) -> None:
    if mistake:
        raise UserError(source, *mistake, remedy)


def _read(source: str, channel: str, dwi_volume: DwiVolume) -> tuple[sitk.Image, list[str]]:
    """One 3D image, its metadata erased, and notes."""
    with _opening(source, channel) as (path, series):
        if path.is_dir():
            volume, notes = _pick_volume(source, pick_series(path, series), channel, dwi_volume)
            image = read_volume(volume)
            _refuse(source, checks.geometry_mistake(image.GetSize(), image.GetSpacing()))
        else:
            reader, notes = _open(source, path, channel, dwi_volume)
            if path.name.lower().endswith(checks.NIFTI):
                notes += _check_nifti(source, path, channel)
            image = reader.Execute()
            direction = np.reshape(image.GetDirection(), (3, 3))
            if np.abs(direction @ direction.T - np.eye(3)).max() > _NOT_ORTHONORMAL:
                raise _sheared(source)
    for key in image.GetMetaDataKeys():  # names, dates and comments of the patient; geometry is not among them
        image.EraseMetaData(key)
    return image, notes


def _pick_volume(
    source: str, images: list[Slice], channel: str, dwi_volume: DwiVolume
) -> tuple[list[Slice], list[str]]:
    """One volume of a series, and notes."""
    notes, weighted = list[str](), is_dwi(channel)
    if weighted:
        images, notes = diffusion.without_maps(images, source)
    else:  # what stands in the b-value's place means nothing then
        images = [replace(image, b_value=None) for image in images]
    volumes = arrange(images, source)
    described = diffusion.described(volumes) if weighted else ""
    index, more = _choose_volume(source, len(volumes), channel, dwi_volume, described)
    if weighted:
        diffusion.check_choice(volumes, index, dwi_volume, source)
        value = diffusion.b_value(volumes[index])
        notes = [", ".join([*more, diffusion.b_text(value)]), *notes] if more or value is not None else notes
    _refuse(source, spacing_mistake(volumes[index][0].path))
    return volumes[index], notes


def _open(source: str, path: Path, channel: str, dwi_volume: DwiVolume) -> tuple[sitk.ImageFileReader, list[str]]:
    """A reader of one volume of the file, whose header it has read, and notes."""
    if not path.name.lower().endswith(checks.WITH_GEOMETRY):
        endings = ", ".join(checks.WITH_GEOMETRY)
        remedy = "name a file of such a format; of a DICOM series the folder"
        raise UserError(source, f"the file name {path.name}", f"one that ends in {endings}", remedy)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise _sheared(source) from None
        raise
    _refuse(source, checks.header_mistake(path))
    size = reader.GetSize()
    if reader.GetNumberOfComponents() > 1:
        raise UserError(source, "colours or vectors", "one value a voxel", "export the values, not a picture")
    if len(size) < 3 or size[2] == 1:
        raise UserError(source, "one slice", "a volume (3D)", "name the whole scan")
    if any(length != 1 for length in size[4:]):
        raise UserError(source, f"{len(size)} dimensions", "a volume (3D)", "split it into volumes")
    if len(size) == 3:
        return reader, []
    index, notes = _choose_volume(source, size[3], channel, dwi_volume)
    notes += diffusion.check_file(path, size[3], index, dwi_volume) if notes else []
    reader.SetExtractIndex([0, 0, 0, index] + [0] * (len(size) - 4))
    reader.SetExtractSize([*size[:3]] + [0] * (len(size) - 3))
    return reader, notes


def _choose_volume(
    source: str, count: int, channel: str, dwi_volume: DwiVolume, described: str = ""
) -> tuple[int, list[str]]:
    """Index of the volume to take, and a note where there was a choice."""
    if count == 1:
        return 0, []
    found = f"{count} volumes (4D)" + (f": {described}" if described else "")
    if is_perfusion(channel):
        remedy = "compute it with a perfusion program, e.g. Tmax in seconds, and name the map"
        raise UserError(source, f"{found}: a raw perfusion series", f"one volume: a computed map ({channel})", remedy)
    if not is_dwi(channel):
        raise UserError(source, found, f"one volume of {channel}", "name the one wanted as a file of its own")
    if dwi_volume is None:
        remedy = "--dwi-volume last (of b0 and b1000 usually the b1000), or --dwi-volume N, counted from 1"
        raise UserError(source, found, "one diffusion-weighted volume", remedy)
    number = count if dwi_volume == "last" else int(dwi_volume)
    if not 1 <= number <= count:
        raise UserError(source, found, f"a volume {number}", f"--dwi-volume last, or a number from 1 to {count}")
    return number - 1, [f"volume {number} of {count} taken"]


def _check_nifti(source: str, path: Path, channel: str) -> list[str]:
    """Looks for what SimpleITK does without a word.

    It makes zeros of the missing end of a NIfTI file, of NaN and of infinity, and chooses one of two orientations.

    Returns:
        Notes on NaN and on the orientation.
    """
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix.lower() == ".gz" else content
        kind: Any = type(nibabel.load(path))
        image = kind.from_bytes(content)
        values = image.dataobj.get_unscaled()
    except _DAMAGED as error:
        found = f"a damaged or truncated file ({reason(error)})"
        raise UserError(source, found, "a whole NIfTI file", "copy it again from its source") from None
    header = image.header
    notes = _check_finite(source, values, channel) if values.dtype.kind == "f" else []
    if not header["qform_code"] and not header["sform_code"]:
        return [*notes, "no orientation in the header, the axes are taken as they come"]
    if header["qform_code"] and header["sform_code"]:
        corners = np.array([[0, 0, 0, 1], [*header.get_data_shape()[:3], 1]]).T
        if np.abs((header.get_qform() - header.get_sform()) @ corners).max() > _ONE_PLACE_MM:
            notes.append("qform and sform differ, the one that SimpleITK prefers is taken, as nnU-Net does")
    return notes


def _check_finite(source: str, values: np.ndarray, channel: str) -> list[str]:
    """A computed map may have NaN where there was nothing to compute; such voxels become 0, and a note says so."""
    broken, missing = np.count_nonzero(~np.isfinite(values)), np.count_nonzero(np.isnan(values))
    if broken and not (broken == missing and (is_adc(channel) or is_perfusion(channel))):
        remedy = "mend the file, or replace it"
        raise UserError(source, f"{broken} voxels that are NaN or infinite", "finite values", remedy)
    return [f"NaN in {missing / values.size:.0%} of the voxels, taken for 0"] if missing else []


def _sheared(source: str) -> UserError:
    found = "axes that are not at right angles, or no orientation in the header"
    remedy = "resample it to a grid at right angles, e.g. with nilearn.image.reorder_img(image, resample='continuous')"
    return UserError(source, found, "an orthonormal direction matrix, as nnU-Net's reader demands", remedy)
