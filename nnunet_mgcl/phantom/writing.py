"""Writes a phantom in one of its forms: a folder that appears all at once, and replaces only what was written so."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt
import SimpleITK as sitk

from nnunet_mgcl.data.images.files import write_image
from nnunet_mgcl.phantom.brain.scan import Grid
from nnunet_mgcl.phantom.cases import Case, all_cases
from nnunet_mgcl.phantom.options import PhantomOptions
from nnunet_mgcl.phantom.stroke.lesion_masks import LesionMasks
from nnunet_mgcl.system.errors import UserError, some
from nnunet_mgcl.system.files import read_json
from nnunet_mgcl.system.run_lock import run_lock
from nnunet_mgcl.system.workers import run_jobs


@dataclass(frozen=True)
class Form:
    """What a phantom looks like on the disk.

    Attributes:
        folder: Name of its folder.
        marker: A JSON file in it that has the key `phantom` where `mgcl phantom` wrote it.
        files: Regular expression of all its files, relative to the folder: what `--overwrite` may remove.
        write_case: Writes a case into a folder: options, lesion masks, and the case with its part of nnU-Net's folders.
        write_tables: Writes everything else.
        check: Raises a UserError where such a folder may not be written.
    """

    folder: Callable[[PhantomOptions], str]
    marker: str
    files: str
    write_case: Callable[[Path, PhantomOptions, LesionMasks | None, tuple[str, Case]], str]
    write_tables: Callable[[Path, PhantomOptions], None]
    check: Callable[[Path], None] = lambda target: None


def write_phantom(
    form: Form, parent: Path, options: PhantomOptions, masks: LesionMasks | None = None,
    *, overwrite: bool = False, processes: int = 1,
) -> Generator[str, None, None]:  # fmt: skip
    """Checks the request, then returns a generator that writes one case a step and yields the case's name.

    The folder appears in `parent` when the generator ends, all of it at once.

    Raises:
        UserError: The folder exists already, or another run writes it.
    """
    target = parent / form.folder(options)
    check = partial(_check, form, target, overwrite)
    check()
    return _write(form, target, check, options, masks, processes)


def _write(
    form: Form, target: Path, check: Callable[[], None], options: PhantomOptions, masks: LesionMasks | None,
    processes: int,
) -> Generator[str, None, None]:  # fmt: skip
    with _staged(target, check) as staging:
        jobs = [(part, case) for part, cases in all_cases(options).items() for case in cases]
        yield from run_jobs(partial(form.write_case, staging, options, masks), jobs, processes)
        form.write_tables(staging, options)


@contextmanager
def _staged(target: Path, check: Callable[[], None]) -> Iterator[Path]:
    """Yields a hidden folder beside `target` that takes its place when the block ends without an error.

    `check` is asked before the block and again after it, since somebody may have written there meanwhile.
    """
    lock, staging, old = (target.with_name(f".{target.name}.{kind}") for kind in ("lock", "part", "old"))
    with run_lock(lock, target, "mgcl phantom"):
        try:
            _clear(target, staging, old)
            check()
            staging.mkdir()
            yield staging
            check()
            if target.exists():
                target.rename(old)  # a removal takes time: killed amid it, half a dataset would look whole
            staging.rename(target)
        finally:
            _clear(target, staging, old)
            lock.unlink(missing_ok=True)  # while it is held: the next one's must not go


def _clear(target: Path, staging: Path, old: Path) -> None:
    """Removes what this run or a killed one has left, and puts the old folder back if no new one took its place."""
    if old.exists() and not target.exists():
        old.rename(target)
    for folder in (staging, old):
        shutil.rmtree(folder, ignore_errors=True)


def _check(form: Form, target: Path, overwrite: bool) -> None:
    """Refuses to touch what is not a phantom, or a phantom without `overwrite`."""
    for folder in target.parents:
        if folder.exists() and not folder.is_dir():
            raise UserError("-o", f"{folder} is not a folder", "a folder, or a name for one", "choose another -o")
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        remedy = "remove it, or choose another --id, --name or -o"
        raise UserError(target, "a link" if target.is_symlink() else "a file", "a folder or nothing", remedy)
    if target.exists():
        if not overwrite:
            raise UserError(target, "it exists", "a new folder", "choose another --id or -o, or --overwrite")
        _check_content(form, target)
    form.check(target)


def _check_content(form: Form, target: Path) -> None:
    content = read_json(target / form.marker) if (target / form.marker).is_file() else None
    if not isinstance(content, dict) or "phantom" not in content:
        remedy = "choose another --id or -o, or remove the folder yourself if nobody needs it"
        raise UserError(target, "a folder that mgcl phantom has not written", "a phantom to overwrite", remedy)
    names = (path.relative_to(target).as_posix() for path in sorted(target.rglob("*")) if not path.is_dir())
    if foreign := [name for name in names if not re.fullmatch(form.files, name)]:
        found = f"files that mgcl phantom has not written: {some(foreign)}"
        raise UserError(target, found, "only its own, which --overwrite removes", "move them out of the folder")


def write_array(path: Path, array: npt.NDArray[Any], grid: Grid, centre: Sequence[float] = (0.0, 0.0, 0.0)) -> None:
    """Writes an image `(Z, Y, X)`.

    Args:
        path: The file.
        array: Its voxels.
        grid: Their size.
        centre: Where the middle of the image lies in the scanner, in mm along x, y and z.
    """
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(grid.spacing[::-1])
    extents = [(n - 1) * step for n, step in zip(grid.shape[::-1], grid.spacing[::-1], strict=True)]
    image.SetOrigin([middle - extent / 2 for middle, extent in zip(centre, extents, strict=True)])
    write_image(path, image)
