"""A pool that several processes preprocess, on one machine or on several with one file system.

Each part has a folder of its own beside the modalities, laid out as a pool: no two of them write to one manifest. The
part that finishes last moves all of them into the pool.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

from nnunet_mgcl.data.pool.manifest import SAVE_EVERY, SUFFIXES, Manifest
from nnunet_mgcl.data.pool.refresh import up_to_date
from nnunet_mgcl.data.pool.work import Work
from nnunet_mgcl.system.files import make_folder
from nnunet_mgcl.system.run_lock import run_lock

_FINISHED = "finished"


@dataclass(frozen=True)
class PoolPart:
    """A share of the pool's cases.

    Attributes:
        number: Which, from 0.
        total: Of how many; 1: nobody shares.
    """

    number: int = 0
    total: int = 1

    def has(self, case: str) -> bool:
        """Whether a case belongs to it. By the name alone: cases that come or go move no other."""
        return crc32(case.encode()) % self.total == self.number

    def folders(self, pool: Path) -> list[Path]:
        """Where all parts of so many work."""
        return [pool / f".part_{number}_of_{self.total}" for number in range(self.total)]


WHOLE = PoolPart()


def prepare_part(work: Work, pool: Path, part: PoolPart) -> bool:
    """Preprocesses what the pool lacks of a part's cases, in the part's own folder.

    Returns:
        Whether all parts have finished, so that they can be joined.

    Raises:
        UserError: An image is wrong; the part has not finished then.
    """
    folder = part.folders(pool)[part.number]
    with (
        run_lock(folder / ".lock", folder, "process", wait=work.log),
        Manifest(folder, writes=True) as own,
        Manifest(pool) as joined,
    ):
        own.set_note(_FINISHED, False)
        held_out = work.held_out(own, joined.labelled())
        lacking = {}
        for modality, plan in work.plans.items():
            share = {case: paths for case, paths in work.files[modality].items() if part.has(case)}
            _, missing = up_to_date(joined, modality, plan, share, held_out)
            lacking[modality] = {case: share[case] for case in missing}
        work.run(own, lacking, held_out)
        own.set_note(_FINISHED, True)
        own.save()
    return all(map(_has_finished, part.folders(pool)))


def join_parts(manifest: Manifest, plans: dict[str, dict[str, Any]], log: Callable[[str], None]) -> None:
    """Moves what parts have done into the pool, whose lock is held; a part that is at work is waited for.

    Args:
        manifest: The pool's.
        plans: The plan entries that each modality is preprocessed with; what a part has made with others is of no use.
        log: Takes one line for the user.
    """
    for folder in sorted(path for path in manifest.pool.glob(".part_*_of_*") if path.is_dir()):
        with run_lock(folder / ".lock", folder, "process", wait=log), Manifest(folder) as part:
            for modality, plan in plans.items():
                if part.plan(modality) == plan:
                    _move(part, manifest, modality, plan)
            for path, entry in part.labelled().items():
                manifest.note_labelled(path, entry)
            manifest.save()
        shutil.rmtree(folder)


def _move(part: Manifest, manifest: Manifest, modality: str, plan: dict[str, Any]) -> None:
    """Moves the cases of a modality; killed, it can be done again."""
    names, entries, slices = part.cases(modality), part.entries(modality), part.slices(modality)
    manifest.begin(modality, plan)
    make_folder(manifest.pool / modality)
    for start in range(0, len(names), SAVE_EVERY):
        some = names[start : start + SAVE_EVERY]
        manifest.forget(modality, some)  # or it would list new files by the hashes of old ones
        manifest.save()
        for name in (f"{case}{suffix}" for case in some for suffix in SUFFIXES):
            if (source := part.pool / modality / name).exists():  # moved before an interruption
                os.replace(source, manifest.pool / modality / name)
        for case in some:
            manifest.add(modality, case, entries[case], slices[case])
        manifest.save()


def _has_finished(folder: Path) -> bool:
    with Manifest(folder) as manifest:
        return bool(manifest.note(_FINISHED))
