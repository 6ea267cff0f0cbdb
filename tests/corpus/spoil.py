"""What rows do to a tree: each returns a function of the tree's folder, in which all paths lie."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

Spoil = Callable[[Path], object]

DIM, DATATYPE, PIXDIM, SLOPE, SFORM = (40, "8h"), (70, "2h"), (76, "8f"), (112, "2f"), (254, "h")
"""Fields of a NIfTI header: offset and format."""

DEEP = '{"a": ' * 100_000 + "1" + "}" * 100_000
DIGITS = "1" * 5000
LONG = "x" * 200_000


def nothing(tree: Path) -> None:
    """The tree is good; the command is odd."""


def both(*spoils: Spoil) -> Spoil:
    """One after the other."""
    return lambda tree: [spoil(tree) for spoil in spoils]


def text(path: str, content: str, encoding: str = "utf-8") -> Spoil:
    """Writes a file; its folder too, where it is missing."""
    return content_of(path, content.encode(encoding))


def content_of(path: str, content: bytes) -> Spoil:
    """The same with bytes."""

    def write(tree: Path) -> None:
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(content)

    return write


def replaced(path: str, old: str, new: str) -> Spoil:
    """Replaces a text in a file."""

    def replace(tree: Path) -> None:
        before = (tree / path).read_text()
        assert old in before
        (tree / path).write_text(before.replace(old, new))

    return replace


def removed(*paths: str) -> Spoil:
    """Removes files or folders."""

    def remove(tree: Path) -> None:
        for path in (tree / path for path in paths):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return remove


def link(path: str, target: str) -> Spoil:
    """A link in a file's or folder's place."""

    def make(tree: Path) -> None:
        if os.path.lexists(tree / path):
            removed(path)(tree)
        (tree / path).symlink_to(target)

    return make


def fifo(path: str) -> Spoil:
    """A pipe that nobody writes to, in a file's place."""

    def make(tree: Path) -> None:
        (tree / path).unlink(missing_ok=True)
        os.mkfifo(tree / path)

    return make


def folder(path: str) -> Spoil:
    """A folder with a file in it, in a file's place."""

    def make(tree: Path) -> None:
        (tree / path).unlink(missing_ok=True)
        (tree / path).mkdir(parents=True)
        (tree / path / "thumb.jpg").touch()

    return make


def copied(source: str, target: str) -> Spoil:
    """A second copy of a file or folder."""

    def copy(tree: Path) -> None:
        shutil.copytree(tree / source, tree / target) if (tree / source).is_dir() else shutil.copy(
            tree / source, tree / target
        )

    return copy


def moved(source: str, target: str) -> Spoil:
    """Another name."""
    return lambda tree: (tree / source).rename(tree / target)


def cut(path: str, size: int) -> Spoil:
    """What is left of a file after so many bytes; with a negative size, without the last ones."""
    return lambda tree: (tree / path).write_bytes((tree / path).read_bytes()[:size])


def edited(path: str, change: Callable[[Any], Any]) -> Spoil:
    """Changes the content of a JSON file in place."""

    def edit(tree: Path) -> None:
        content = json.loads((tree / path).read_text())
        change(content)
        (tree / path).write_text(json.dumps(content))

    return edit


def updated(path: str, **keys: Any) -> Spoil:
    """Sets keys of a JSON file."""
    return edited(path, lambda content: content.update(keys))


def header(path: str, field: tuple[int, str], **values: float) -> Spoil:
    """Changes numbers of a field of a `.nii.gz` header, `_1=3` the one at index 1."""

    def change(tree: Path) -> None:
        content = bytearray(gzip.decompress((tree / path).read_bytes()))
        offset, form = field
        numbers = list(struct.unpack_from(f"<{form}", content, offset))
        for index, value in values.items():
            numbers[int(index[1:])] = value
        struct.pack_into(f"<{form}", content, offset, *numbers)
        (tree / path).write_bytes(gzip.compress(bytes(content)))

    return change


def voxels(path: str, change: Callable[[np.ndarray], np.ndarray]) -> Spoil:
    """Changes an image's voxels `(Z, Y, X)`; the grid stays where the shape does."""

    def write(tree: Path) -> None:
        image = sitk.ReadImage(str(tree / path))
        new = sitk.GetImageFromArray(change(sitk.GetArrayFromImage(image)))
        if new.GetSize() == image.GetSize():
            new.CopyInformation(image)
        else:
            new.SetSpacing(image.GetSpacing()[: new.GetDimension()] + (1.0,) * (new.GetDimension() - 3))
        sitk.WriteImage(new, str(tree / path))

    return write


def voxel(path: str, value: float) -> Spoil:
    """Changes one voxel."""

    def change(array: np.ndarray) -> np.ndarray:
        array = array.astype(np.float32)
        array[3, 3, 3] = value
        return array

    return voxels(path, change)


def as_image(path: str, ending: str) -> Spoil:
    """The same image in another format, the file removed."""

    def write(tree: Path) -> None:
        sitk.WriteImage(sitk.ReadImage(str(tree / path)), str(tree / path).removesuffix(".nii.gz") + ending)
        (tree / path).unlink()

    return write


def array(path: Path) -> np.ndarray:
    """An image's voxels `(Z, Y, X)`."""
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
