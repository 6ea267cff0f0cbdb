"""What a run has to preprocess of a pool, done and listed in a manifest: the pool's own, or that of a part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.progress import track

from nnunet_mgcl.data.pool.case import PoolJob, View, preprocess
from nnunet_mgcl.data.pool.duplicates import HeldOut, HeldOutImages, held_out_voxels
from nnunet_mgcl.data.pool.manifest import SAVE_EVERY, Manifest
from nnunet_mgcl.data.pool.older_manifest import FileEntry
from nnunet_mgcl.data.pool.refresh import forget_others, up_to_date
from nnunet_mgcl.data.pool.scan import PoolFiles
from nnunet_mgcl.system.errors import UserError, counted
from nnunet_mgcl.system.files import WriteError
from nnunet_mgcl.system.workers import run_each


@dataclass(frozen=True)
class Work:
    """A pool and how it is preprocessed.

    Attributes:
        views: Each modality's view of the plan.
        files: The raw files.
        images: The validation images that no pool case may be.
        num_processes: Worker processes; 1 works in this process.
        log: Takes one line for the user.
        progress: Whether to show a progress bar.
    """

    views: dict[str, View]
    files: PoolFiles
    images: HeldOutImages
    num_processes: int
    log: Callable[[str], None]
    progress: bool

    @property
    def plans(self) -> dict[str, dict[str, Any]]:
        """The plan entries that each modality is preprocessed with."""
        return {modality: view.fingerprint for modality, view in self.views.items()}

    def held_out(self, manifest: Manifest, also_known: dict[str, FileEntry] | None = None) -> HeldOut:
        """The voxels of the validation images; arguments as of `held_out_voxels`."""
        return held_out_voxels(
            self.images, manifest, also_known or {}, self.num_processes, self.log, progress=self.progress
        )

    def run(self, manifest: Manifest, files: PoolFiles, held_out: HeldOut) -> None:
        """Preprocesses what a manifest lacks of some files, lists what succeeded, and forgets everything else.

        Raises:
            UserError: An image is wrong; the first one, after all others are done.
        """
        jobs = []
        for modality, view in self.views.items():
            kept, todo = up_to_date(manifest, modality, view.fingerprint, files[modality], held_out)
            forget_others(manifest, modality, view.fingerprint, kept)
            self.log(f"Unlabelled pool, {modality}: {counted(len(files[modality]), 'case')}, {len(todo)} to preprocess")
            jobs += [
                PoolJob(modality, case, files[modality][case], own, manifest.pool / modality / case, view, held_out)
                for case, own in todo.items()
            ]
        self._do(jobs, manifest)

    def _do(self, jobs: list[PoolJob], manifest: Manifest) -> None:
        mistakes = []
        results = run_each(preprocess, jobs, self.num_processes, "use fewer processes, e.g. mgcl prepare -np 1")
        try:
            finished = track(results, "Preprocessing the pool", len(jobs), disable=not self.progress)
            for number, (job, future) in enumerate(finished, start=1):
                try:
                    manifest.add(job.modality, job.case, *future.result())
                except WriteError:
                    raise
                except UserError as mistake:
                    mistakes.append(mistake)
                if number % SAVE_EVERY == 0:
                    manifest.save()
        finally:
            results.close()  # what has not begun is given up
            manifest.save()
        if mistakes:
            first = min(mistakes, key=lambda mistake: mistake.where)
            more = f" ({len(mistakes) - 1} more images are wrong)" if len(mistakes) > 1 else ""
            raise UserError(first.where, first.found + more, first.expected, first.remedy)
