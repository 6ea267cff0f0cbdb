from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from nnunet_mgcl.plan.config import BLOCKS, PhaseSettings
from nnunet_mgcl.pretraining import shared
from nnunet_mgcl.pretraining.coarse import Coarse
from nnunet_mgcl.pretraining.course import pretrain
from nnunet_mgcl.pretraining.protocol import Pretext
from nnunet_mgcl.pretraining.shared import inputs_of, store_folder


class Last(nn.Module):
    """A projection of the deepest map."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, maps):
        return self.weight * maps[-1]


class Denoise(Pretext):
    """Gives the images back."""

    name, trains, label_free = "denoise", ("encoder",), True

    class Settings(PhaseSettings):
        """Of a test."""

    def model(self, run, branch, unet):
        return nn.Sequential(unet.encoder, Last())

    def step(self, model, batch):
        assert batch["target"].max() == 0, "a label"
        return model(batch["views"][0]).square().mean(), None


class After(Denoise):
    name = "after"


OWN = {name: BLOCKS.pop(name) for name in ("denoise", "after")}  # other tests look at the methods that are shipped


@pytest.fixture(autouse=True)
def registered():
    BLOCKS.update(OWN)
    yield
    for name in OWN:
        BLOCKS.pop(name, None)


@pytest.fixture
def make_run(make_context, tmp_path, monkeypatch):
    """A fold of a dataset whose pool has a manifest, with few epochs."""
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    digests = {"A": "of pool_0 and pool_1", "B": "of none"}
    monkeypatch.setattr(shared, "pool_digests", lambda _, names: {name: digests[name] for name in names})

    def make(fold=0, **settings):
        mgcl = {name: {"epochs": 1, "batch_size": 4} | settings.get(name, {}) for name in ("denoise", "after")}
        others = {name: value for name, value in settings.items() if name not in mgcl}
        context = make_context(mgcl=mgcl | others)
        layout = type(context.layout)(tmp_path / f"fold_{fold}")
        return replace(context, fold=fold, layout=layout)

    make.digests = digests
    return make


def folder_of(run, phase=Denoise, earlier=()):
    branch = run.branches[0]
    return store_folder(run, phase(), branch, inputs_of(phase(), run, branch, earlier)).name


def test_what_a_phase_reads_decides_on_the_folder_and_nothing_else(make_run) -> None:
    expected = folder_of(make_run())
    assert folder_of(make_run(fold=3)) == expected
    assert folder_of(make_run(segment={"epochs": 7}, coarse={"epochs": 9}, after={"lr": 0.5})) == expected
    assert folder_of(make_run(denoise={"lr": 0.5})) != expected
    assert folder_of(make_run(random_seed=5)) != expected
    assert folder_of(make_run(), After, [Denoise()]) != folder_of(make_run(denoise={"lr": 0.5}), After, [Denoise()])
    make_run.digests["A"] = "of others"
    assert folder_of(make_run()) != expected


def test_folds_share_one_run_over_the_pool_and_a_branch_without_one_has_its_own(make_run, lines) -> None:
    phases = (Denoise(), After())
    pretrain(phases, make_run(fold=0))
    trained = [line for line in lines if line.startswith(("denoise A: epochs", "after A: epochs"))]
    assert len(trained) == 2
    lines.clear()
    second = make_run(fold=1)
    pretrain(phases, second)
    assert not any(": epochs" in line for line in lines if " A: " in line)
    assert any(line.startswith("denoise B: epochs") for line in lines), "it has no pool"
    left = [
        torch.load(second.layout.root.parent / f"fold_{fold}" / "phases/after/A/network.pth", weights_only=True)
        for fold in (0, 1)
    ]
    assert all(torch.equal(value, left[1][name]) for name, value in left[0].items())
    assert left[0].keys() == second.branches[0].build_unet().encoder.state_dict().keys(), "without the projection"
    assert "denoise" in (second.layout.phases / "curves.json").read_text()


def test_a_phase_behind_one_that_saw_labels_is_run_in_the_fold(make_run, write_pseudo_labels, lines) -> None:
    run = make_run(coarse={"epochs": 1, "batch_size": 6, "embedding_dim": 8})
    write_pseudo_labels(run, run.branches[0], 2)
    pretrain((Coarse(), Denoise()), run)
    assert not any("mgcl_pretrained" in line for line in lines)
    assert run.state.is_done("denoise", "A")


def test_a_run_without_labels_cannot_reach_one(make_run) -> None:
    run = make_run().without_labels()
    assert not {"train_cases", "labelled_folder", "table", "network"} & set(vars(run))
    for branch in run.branches:
        for source in run.unlabelled_cases(branch):
            _, mask, properties = source.load()
            assert np.asarray(mask[:]).max() <= 0 and not properties["class_locations"]
