"""What makes an image useless, although readers take it without a word: its geometry, and values that get lost.

The pool, `mgcl convert` and `mgcl predict` ask here: for the header before they read an image, and for the values as
they are after normalisation.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from nibabel.openers import ImageOpener
from nnunetv2.preprocessing.normalization.default_normalization_schemes import ZScoreNormalization

from nnunet_mgcl.system.errors import reason

Mistake = tuple[str, str]
"""What was found, and what was expected."""

VOXEL_MM = (0.01, 1000.0)
"""Shortest and longest edge of a voxel: less is metres taken for millimetres, more no number of mm at all."""
SMALLEST_RANGE = 1e-6
"""Of the values of a normalised channel: with less, a network's own normalisation takes it for a constant."""

NIFTI = (".nii", ".nii.gz")
WITH_GEOMETRY = (*NIFTI, ".mha", ".mhd", ".nrrd", ".nhdr")
"""Endings of the formats whose headers give millimetres; pictures have none."""
EDGE = f"voxels of {VOXEL_MM[0]:g} to {VOXEL_MM[1]:g} mm"


def image_mistake(path: Path) -> Mistake | None:
    """What makes a file no whole image that lies somewhere; None: nothing. All of it is read."""
    return header_mistake(path) or truncation(path)


def header_mistake(path: Path) -> Mistake | None:
    """What is wrong with an image's geometry, as the file has it; None: nothing. No voxel is read."""
    if not path.is_file():
        return "no file, or a link to nothing", "an image"
    name = path.name.lower()
    if not name.endswith(WITH_GEOMETRY):
        return None
    try:
        if name.endswith(NIFTI) and (mistake := _nifti_mistake(path)):
            return mistake
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
    except Exception as error:  # ITK's, nibabel's, gzip's and the system's
        if name.endswith(NIFTI) and isinstance(error, RuntimeError):
            return None  # sheared, or NIfTI-2: another reader than ITK's may know what to do with it
        return f"cannot be read ({reason(error)}): damaged or truncated", "an intact image"
    mistake = geometry_mistake(reader.GetSize(), reader.GetSpacing())
    return mistake or _place_mistake([*reader.GetOrigin(), *reader.GetDirection()])


def geometry_mistake(
    size: Sequence[int], spacing: Sequence[float], limits: tuple[float, float] = VOXEL_MM
) -> Mistake | None:
    """What is wrong with numbers of voxels and their edges (mm) along up to three axes; None: nothing."""
    if any(length < 1 for length in size[:3]):
        return f"a size of {_listed(size)} voxels", "one voxel or more along each axis"
    if not all(limits[0] <= edge <= limits[1] for edge in spacing[:3]):  # NaN is not either
        return f"a spacing of {_listed(spacing)} mm", EDGE
    return None


def value_mistake(data: npt.NDArray[np.floating[Any]]) -> Mistake | None:
    """What is wrong with normalised channels `(C, ...)`; None: nothing."""
    for number, channel in enumerate(data):
        which = f" (channel {number} of {len(data)})" if len(data) > 1 else ""
        low, high = float(channel.min()), float(channel.max())
        if not np.isfinite([low, high]).all():
            found = f"NaN or infinite values after normalisation{which}: the image's own are too large"
            return found, "intensities below 1e15, without NaN"
        if high - low < SMALLEST_RANGE:
            found = f"one value in all voxels after normalisation{which}: the image's own are equal, or out of range"
            return found, "intensities that differ, between 1e-7 and 1e15"
    return None


def truncation(path: Path, look: Callable[[npt.NDArray[Any]], Mistake | None] = lambda values: None) -> Mistake | None:
    """What is wrong with a NIfTI file that has not all of its voxels; None: nothing.

    SimpleITK takes zeros for what is not there, and for NaN too: `look` sees the values as they are.
    """
    if not path.name.lower().endswith(NIFTI):
        return None
    try:
        image: Any = nibabel.load(path)
        with np.errstate(all="ignore"):  # of a wrong slope
            values = np.asanyarray(image.dataobj)
    except Exception as error:  # gzip's, zlib's, the system's and nibabel's own
        return f"cannot be read ({reason(error)}): damaged or truncated", "an intact image"
    return look(values)


def z_scored(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """What nnU-Net's usual normalisation makes of an image, of any shape."""
    with np.errstate(all="ignore"):  # `value_mistake` looks at what comes of it
        return ZScoreNormalization(use_mask_for_norm=False, intensityproperties={}).run(np.array(values, np.float32))


def _nifti_mistake(path: Path) -> Mistake | None:
    """Readers take a size of 1 for 0, and a spacing of 1 mm for one that is 0, NaN or infinite."""
    with ImageOpener(str(path)) as file:
        start = file.read(4)
        file.seek(0)
        two = 540 in (int.from_bytes(start, "little"), int.from_bytes(start, "big"))
        header: Any = (nibabel.Nifti2Header if two else nibabel.Nifti1Header).from_fileobj(file, check=False)
    axes = min(3, max(2, int(header["dim"][0])))
    size, edges = header["dim"][1 : 1 + axes].tolist(), header["pixdim"][1 : 1 + axes].tolist()
    # Any edge that is a number: in which unit, the header says elsewhere.
    return geometry_mistake(size, edges, (sys.float_info.min, sys.float_info.max))


def _place_mistake(numbers: Sequence[float]) -> Mistake | None:
    if np.isfinite(numbers).all():
        return None
    return "NaN or infinite numbers in its origin or direction", "an image that lies somewhere"


def _listed(numbers: Sequence[float]) -> str:
    return " x ".join(f"{number:.4g}" for number in numbers[:3])
