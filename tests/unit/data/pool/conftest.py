from __future__ import annotations

from types import SimpleNamespace

import pytest

from nnunet_mgcl.data.pool import work as pool_work
from nnunet_mgcl.data.pool.manifest import Manifest
from nnunet_mgcl.data.pool.parts import WHOLE
from nnunet_mgcl.data.pool.preprocess import pool_cases, prepare_pool
from nnunet_mgcl.plan.plans import resolve_block

POOL = {"DWI": ["case_0", "pool_0", "pool_1"], "FLAIR": ["pool_0", "pool_2"], "PWI": ["case_0", "pool_0", "pool_2"]}


@pytest.fixture
def older_content():
    """A pool's manifest as earlier versions wrote it into `manifest.json`."""

    def content(folder, modalities):
        with Manifest(folder) as manifest:
            listed = {name: {"plan": manifest.plan(name), "cases": manifest.entries(name)} for name in modalities}
            return {"modalities": listed, "labelled": manifest.labelled()}

    return content


@pytest.fixture
def world(tiny_dataset, plans, masks_json, monkeypatch):
    """The tiny dataset with `prepare()`, the log it writes and the cases it really preprocesses."""
    lines, done = [], []
    original = pool_work.preprocess

    def counted(job):
        done.append((job.modality, job.case))
        return original(job)

    monkeypatch.setattr(pool_work, "preprocess", counted)

    def prepare(num_processes=1, refresh=True, part=WHOLE):
        done.clear()
        lines.clear()
        config = resolve_block(plans, "2d", masks_json, True)
        return prepare_pool(
            tiny_dataset, plans, "2d", masks_json, config, [], num_processes, lines.append, progress=False,
            refresh=refresh, part=part,
        )  # fmt: skip

    def cases():
        return pool_cases(tiny_dataset, resolve_block(plans, "2d", masks_json, True), "nnUNetPlans_2d")

    return SimpleNamespace(
        layout=tiny_dataset, plans=plans, dataset_json=masks_json, prepare=prepare, cases=cases, lines=lines, done=done,
        expected=POOL, folder=tiny_dataset.unlabelled("nnUNetPlans_2d"), raw=tiny_dataset.raw_unlabelled,
    )  # fmt: skip
