"""Real lesion masks in MNI space, as shapes for synthetic strokes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.affines import apply_affine
from scipy.ndimage import map_coordinates

from nnunet_mgcl.phantom.brain.template import STEP_MM, FloatArray, load_template
from nnunet_mgcl.system.errors import UserError

OPTION = "--lesion-masks"
# An image in MNI space holds this box (x, y, z in mm) and lies inside the other one.
_HELD_MM = ((-60, 60), (-90, 60), (-30, 65))
_HOLDING_MM = ((-130, 130), (-160, 130), (-130, 150))


@dataclass(frozen=True)
class LesionMasks:
    """The masks of a folder.

    Attributes:
        paths: NIfTI files, sorted.
    """

    paths: tuple[Path, ...]

    def draw(self, rng: np.random.Generator, least_ml: float, lowest_mm: float) -> FloatArray:
        """A mask with at least `least_ml` of brain above the height `lowest_mm`, as fractions on the template's grid.

        Raises:
            UserError: A file cannot be read, or no mask is large enough.
        """
        tissue = load_template().brain * (load_template().coordinates()[2] > lowest_mm)
        for index in rng.permutation(len(self.paths)):
            mask = _read(self.paths[index])
            if (mask * tissue).sum() * STEP_MM**3 / 1000 >= least_ml:
                return mask
        found = f"{len(self.paths)} masks, none of {least_ml} ml or more in the cerebrum"
        raise UserError(OPTION, found, "masks of strokes larger than 1 ml", "name another folder")


def find_masks(folder: Path) -> LesionMasks:
    """The masks of a folder, after a look at their headers.

    Raises:
        UserError: There is no such folder, no NIfTI file in it, or a file that is not in MNI space.
    """
    if not folder.is_dir():
        raise UserError(OPTION, f"no folder {folder}", "a folder of NIfTI masks in MNI space", "name another folder")
    paths = tuple(sorted(p for p in folder.iterdir() if p.name.endswith((".nii", ".nii.gz"))))
    if not paths:
        raise UserError(folder, "no .nii or .nii.gz file", "NIfTI masks in MNI space", "name another folder")
    for path in paths:
        _check_space(path, _open(path))
    return LesionMasks(paths)


def _open(path: Path) -> Any:
    """A NIfTI image of three dimensions, its voxels not read yet."""
    import nibabel as nib

    try:
        image: Any = nib.load(path)
    except Exception as error:  # nibabel and gzip have many
        raise _unreadable(path, error) from error
    shape = [n for n in image.shape[3:] if n != 1]
    if len(image.shape) < 3 or shape:
        raise UserError(path, f"an image of shape {image.shape}", "a mask in three dimensions", "remove it")
    return image


def _check_space(path: Path, image: Any) -> None:
    shape = image.shape[:3]
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij")).reshape(3, -1).T
    mm = apply_affine(image.affine, corners)
    low, high = mm.min(axis=0), mm.max(axis=0)
    held, holding = np.asarray(_HELD_MM), np.asarray(_HOLDING_MM)
    holds = (low <= held[:, 0]).all() and (high >= held[:, 1]).all()
    if not holds or (low < holding[:, 0]).any() or (high > holding[:, 1]).any():
        found = "an image from " + " to ".join(str(tuple(round(float(v)) for v in corner)) for corner in (low, high))
        expected = f"an image in MNI space: mm coordinates that hold {_HELD_MM}"
        raise UserError(path, f"{found} mm", expected, "normalise the masks to MNI152 first, or remove it")


def _read(path: Path) -> FloatArray:
    """A mask as fractions of the template's voxels."""
    image = _open(path)
    try:
        array = np.asarray(image.dataobj).reshape(image.shape[:3])
    except Exception as error:
        raise _unreadable(path, error) from error
    mask = array == array.max()
    if not (mask | (array == 0)).all():
        raise UserError(path, "several values above 0", "a mask of 0 and one other value", "remove it")
    mm = np.stack(np.broadcast_arrays(*load_template().coordinates()), axis=-1)
    indices = apply_affine(np.linalg.inv(image.affine), mm)
    # At 1 mm the template's centres lie between the mask's voxels: this is the mean of the eight around them.
    return map_coordinates(
        ((array != 0) & mask).astype(np.float32), np.moveaxis(indices, -1, 0), order=1, output=np.float32
    )


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(path, f"cannot be read ({error})", "a NIfTI mask", "replace or remove it")
