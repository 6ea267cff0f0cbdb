from __future__ import annotations

from types import SimpleNamespace

import pytest

from nnunet_mgcl.data.pool import preprocess as unlabelled_pool
from nnunet_mgcl.data.pool.preprocess import pool_cases, prepare_pool
from nnunet_mgcl.plan.plans import resolve_block

POOL = {"DWI": ["case_0", "pool_0", "pool_1"], "FLAIR": ["pool_0", "pool_2"], "PWI": ["case_0", "pool_0", "pool_2"]}


@pytest.fixture
def world(tiny_dataset, plans, masks_json, monkeypatch):
    """The tiny dataset with `prepare()`, the log it writes and the cases it really preprocesses."""
    lines, done = [], []
    original = unlabelled_pool.preprocess

    def counted(job):
        done.append((job.modality, job.case))
        return original(job)

    monkeypatch.setattr(unlabelled_pool, "preprocess", counted)

    def prepare(num_processes=1):
        done.clear()
        lines.clear()
        config = resolve_block(plans, "2d", masks_json, True)
        return prepare_pool(
            tiny_dataset, plans, "2d", masks_json, config, [], num_processes, lines.append, progress=False
        )

    def cases():
        return pool_cases(tiny_dataset, resolve_block(plans, "2d", masks_json, True), "nnUNetPlans_2d")

    return SimpleNamespace(
        layout=tiny_dataset, plans=plans, dataset_json=masks_json, prepare=prepare, cases=cases, lines=lines, done=done,
        expected=POOL, folder=tiny_dataset.unlabelled("nnUNetPlans_2d"), raw=tiny_dataset.raw_unlabelled,
    )  # fmt: skip
