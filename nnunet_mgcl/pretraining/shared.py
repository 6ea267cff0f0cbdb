"""What is pretrained once for all folds: a store of label-free phases, found by the digest of all that they read.

`nnUNet_results/DATASET/mgcl_pretrained/PHASE/BRANCH_DIGEST` is laid out as a fold is. Other plans, fractions of the
labels and studies of the same dataset find it too, as long as nothing that the phase reads differs.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from nnunetv2.paths import nnUNet_results

from nnunet_mgcl import __version__
from nnunet_mgcl.data.layout import FoldLayout
from nnunet_mgcl.data.pool.manifest import pool_digests
from nnunet_mgcl.engine.branches import Branch
from nnunet_mgcl.engine.context import RunContext
from nnunet_mgcl.pretraining.protocol import Pretext
from nnunet_mgcl.system.files import replacing, write_json
from nnunet_mgcl.system.run_lock import run_lock

FOLDER, INPUTS = "mgcl_pretrained", "inputs.json"
PLANNED = (
    "data_identifier", "spacing", "normalization_schemes", "use_mask_for_norm", "preprocessor_name", "patch_size",
    "architecture",
)  # fmt: skip
"""What a phase reads of a branch's configuration; with `resampling_*`."""


def run_shared(phase: Pretext, run: RunContext, earlier: Sequence[Pretext]) -> None:
    """Brings what the store holds of each branch with a pool into a fold's folder; trains what it lacks first.

    Args:
        phase: Label-free, and so are all earlier ones.
        run: The fold's, without labels.
        earlier: The trainer's phases before it.
    """
    for branch in run.branches:
        if run.pool.get(branch.name) and not run.state.is_done(phase.name, branch.name):
            stored = train_stored(phase, run, branch, earlier)
            _take_over(phase, run, branch, stored)


def train_stored(phase: Pretext, run: RunContext, branch: Branch, earlier: Sequence[Pretext]) -> RunContext:
    """Trains one branch in the store, or goes on there; where another process is at it, waits for that one."""
    inputs = inputs_of(phase, run, branch, earlier)
    root = store_folder(run, phase, branch, inputs)
    with _alone(run, root):
        store = replace(run, fold="pool", layout=FoldLayout(root), branches=[branch])
        if store.state.is_done(phase.name, branch.name):
            run.log(f"{phase.name} {branch.name}: takes what was pretrained on the pool, {root}")
            return store
        if run.is_first_rank:
            write_json(root / INPUTS, inputs)
        for other in [phase for phase in earlier if not store.state.is_done(phase.name, branch.name)]:
            _take_over(other, store, branch, train_stored(other, run, branch, earlier[: earlier.index(other)]))
        run.log(f"{phase.name} {branch.name}: pretrains on the pool for all folds, in {root}")
        phase.run(store, earlier)
    return store


def store_folder(run: RunContext, phase: Pretext, branch: Branch, inputs: dict[str, Any]) -> Path:
    """Where a branch's result lies."""
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
    results = Path(nnUNet_results.require()) / run.dataset_layout.name
    return results / FOLDER / phase.name / f"{branch.name}_{digest}"


def inputs_of(phase: Pretext, run: RunContext, branch: Branch, earlier: Sequence[Pretext]) -> dict[str, Any]:
    """Everything that decides on a branch's result: settings, seed, plan and the pool's images."""
    plan = branch.configuration.configuration
    pool = run.dataset_layout.unlabelled(run.configuration.data_identifier)
    return {
        "phases": {p.name: p.settings(run.config).model_dump(mode="json") for p in (*earlier, phase)},
        "random_seed": run.config.random_seed,
        "branch": branch.name,
        "plan": {key: value for key, value in plan.items() if key in PLANNED or key.startswith("resampling_")},
        "intensities": branch.plans.plans.get("foreground_intensity_properties_per_channel"),
        "outputs": branch.label_manager.num_segmentation_heads,
        "pool": pool_digests(pool, [branch.name]),
        "ranks": run.world_size,
        "version": __version__,
    }


def _take_over(phase: Pretext, run: RunContext, branch: Branch, store: RunContext) -> None:
    """Copies a branch's result, its curves and warnings, and marks it done."""
    if run.is_first_rank:
        source = store.layout.phase(phase.name, branch.name) / "network.pth"
        with replacing(run.layout.phase(phase.name, branch.name) / "network.pth") as temporary:
            shutil.copyfile(source, temporary)
        run.curves.take_over(store.layout.progress)
        run.costs.take_over(store.costs, phase.name)
    run.warnings.replace(phase.name, branch.name, store.warnings.of(phase.name, branch.name))
    run.wait_for_all()
    run.state.mark_done(phase.name, branch.name)


@contextmanager
def _alone(run: RunContext, root: Path) -> Iterator[None]:
    """Keeps other processes out; they wait, since what is made here is what they want."""
    with run_lock(root / ".lock", root, "training", wait=run.log) if run.is_first_rank else nullcontext():
        run.wait_for_all()
        yield
