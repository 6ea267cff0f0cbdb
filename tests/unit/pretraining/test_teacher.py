from __future__ import annotations

import pytest
import torch

from nnunet_mgcl.pretraining.pseudo_label_notes import add_note
from nnunet_mgcl.pretraining.self_train import SelfTrain
from nnunet_mgcl.pretraining.teacher import SupervisedPhase, Teacher


def folder(context, phase, branch="A"):
    return context.layout.phase(phase, branch)


def weights(context, phase):
    return torch.load(folder(context, phase) / "network.pth", weights_only=True)


def write_confidences(context, *values) -> None:
    for case, confidence in zip(context.pool["A"], values, strict=True):
        add_note(context.layout.pseudo_labels(1, "A"), 0, case, confidence, 0 if confidence is None else 100)


@pytest.fixture
def trained_on(monkeypatch):
    """Identifiers of the dataset of every training that was started."""
    seen = []
    job = SupervisedPhase.job

    def spy(self, run, branch, model, dataset, **arguments):
        seen.append(list(dataset.identifiers))
        return job(self, run, branch, model, dataset, **arguments)

    monkeypatch.setattr(SupervisedPhase, "job", spy)
    return seen


@pytest.mark.parametrize("dimensions", [2, 3])
def test_seed_trains_the_branches_with_a_pool_on_the_fold_s_training_cases(
    make_context, trained_on, lines, dimensions
) -> None:
    context = make_context(dimensions)
    context.train_cases = ["case_0", "case_1", "case_2"]
    Teacher().run(context)
    assert lines[0] == "B: no unlabelled cases, contrasting the labelled training cases"
    assert trained_on == [["case_0", "case_1", "case_2"]]
    assert context.state.is_done("seed", "A") and not context.state.is_done("seed", "B")
    assert not folder(context, "seed", "B").exists()
    assert sorted(path.name for path in folder(context, "seed").iterdir()) == ["network.pth"]
    unet = context.branches[0].build_unet()
    unet.load_state_dict(weights(context, "seed"))


def test_without_a_pool_nothing_is_trained(make_context) -> None:
    context = make_context(pool={"A": [], "B": []})
    Teacher().run(context)
    SelfTrain().run(context)
    assert not context.layout.phases.exists()


def test_self_train_adds_the_confident_pool_cases(make_context, write_pseudo_labels, trained_on, lines) -> None:
    context = make_context()
    write_pseudo_labels(context, context.branches[0], 1)
    write_confidences(context, 0.5, 0.9)
    SelfTrain().run(context)
    assert trained_on == [[*context.train_cases, "pool:pool_1"]]
    assert any("1 of 2 pool cases reach confidence 0.7" in line for line in lines)
