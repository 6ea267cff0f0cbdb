"""What `coarse` and `fine` share."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from nnunet_mgcl.engine.datasets import pool_dataset
from nnunet_mgcl.losses import patch_labels, slice_labels
from nnunet_mgcl.pretraining.coarse import Coarse
from nnunet_mgcl.pretraining.contrast import cases as cases_module
from nnunet_mgcl.pretraining.contrast import phase as module
from nnunet_mgcl.pretraining.contrast.cases import contrast_cases, has_two_classes
from nnunet_mgcl.pretraining.contrast.phase import ONE_CLASS
from nnunet_mgcl.pretraining.contrast.watch import ContrastWatch
from nnunet_mgcl.pretraining.fine import Fine


def test_pool_is_contrasted_with_the_masks_of_the_second_round(make_context, write_pseudo_labels) -> None:
    context = make_context()
    branch = context.branches[0]
    write_pseudo_labels(context, branch, 1, lesion=None)
    write_pseudo_labels(context, branch, 2)
    cases = contrast_cases(context, branch, slice_labels)
    assert cases.contrasted.identifiers == ["pool:pool_0", "pool:pool_1"] and cases.unusable is None
    assert cases.contrasted["pool:pool_0"][1][:].max() == 1
    assert sorted(cases.left_out) == context.train_cases


def test_without_a_pool_the_labelled_training_cases_are_contrasted(make_context, lines) -> None:
    context = make_context()
    context.train_cases = ["case_1"]
    cases = contrast_cases(context, context.branches[1], slice_labels)
    assert cases.contrasted.identifiers == ["case_1"] and cases.unusable is None


@pytest.mark.parametrize(
    ("lesion", "slices", "patches"),
    [
        (None, False, False),
        ((slice(1, 3), slice(8, 20), slice(8, 20)), True, True),
        ((slice(None), slice(8, 20), slice(8, 20)), False, True),  # a lesion in every slice
        ((slice(None), slice(None), slice(None)), False, False),
        ((slice(1, 3), slice(8, 9), slice(8, 9)), True, False),  # too small for the area threshold
    ],
)
def test_both_classes_are_looked_for_among_the_phase_s_own_samples(
    make_context, write_pseudo_labels, lesion, slices, patches
) -> None:
    context = make_context()
    write_pseudo_labels(context, context.branches[0], 2, lesion)
    dataset = pool_dataset(context, context.branches[0], round_=2)
    assert has_two_classes(dataset, slice_labels) is slices
    assert has_two_classes(dataset, partial(patch_labels, patch_size=8, threshold=0.1)) is patches


UNUSABLE = {
    "empty": (None, "lesions in 0 of 2 pool cases, while 4 of 4 training cases have one", []),
    "everywhere": (np.s_[:], "4096.0 lesion voxels in a pool case, while a training case has", []),
    "tiny": (np.s_[1:3, 8:9, 8:9], "2.0 lesion voxels in a pool case", ["pool:pool_0", "pool:pool_1"]),
    "in every slice": (np.s_[:, 8:20, 8:20], "single class", ["pool:pool_0", "pool:pool_1"]),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_true_masks_take_the_place_of_pseudo_labels_of_no_use(make_context, write_pseudo_labels, kind) -> None:
    """Pool cases help where a lesion of a possible size was found in them with confidence."""
    lesion, reason, helpful = UNUSABLE[kind]
    context = make_context()
    write_pseudo_labels(context, context.branches[0], 2, lesion)
    cases = contrast_cases(context, context.branches[0], slice_labels)
    assert reason in cases.unusable
    assert cases.contrasted.identifiers == [*context.train_cases, *helpful]
    assert cases.contrasted["case_0"][1][:].max() == 1
    write_pseudo_labels(context, context.branches[0], 2, lesion, confidence=0.6)
    assert contrast_cases(context, context.branches[0], slice_labels).contrasted.identifiers == context.train_cases


@pytest.mark.parametrize("phase", ["coarse", "fine"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_branch_without_pseudo_labels_is_trained_and_says_so_once(
    make_context, write_pseudo_labels, lines, phase, dimensions
) -> None:
    context = make_context(dimensions)
    context.branches = context.branches[:1]
    write_pseudo_labels(context, context.branches[0], 2, None)
    Coarse().run(context)
    if phase == "fine":
        lines.clear()
        Fine().run(context, [Coarse()])
    assert not context.state.is_skipped(phase, "A")
    said = [line for line in lines if line.startswith(f"WARNING {phase} A: the pool's pseudo-labels are of no use")]
    assert len(said) == 1
    assert "4 labelled training cases with their true masks and 0 pool cases" in said[0] and "seed.epochs=4" in said[0]


@pytest.mark.parametrize("phase", ["coarse", "fine"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_true_masks_of_one_class_skip_the_phase_with_one_warning(
    make_context, write_pseudo_labels, monkeypatch, lines, phase, dimensions
) -> None:
    context = make_context(dimensions)
    context.branches = context.branches[:1]
    write_pseudo_labels(context, context.branches[0], 2, None)
    monkeypatch.setattr(cases_module, "has_two_classes", lambda *_: False)
    if phase == "fine":
        Coarse().run(context)
        lines.clear()
    monkeypatch.setattr(module, "train", lambda *_: pytest.fail("trained"))
    run = {"coarse": Coarse, "fine": Fine}[phase]().run
    run(context)
    part = "encoder" if phase == "coarse" else "decoder"
    assert (
        len(lines) == 1
        and lines[0].startswith(f"WARNING {phase} A: skipped")
        and f"{part} as the phase began" in lines[0]
    )
    assert context.state.is_done(phase, "A") and context.state.is_skipped(phase, "A")
    assert (context.layout.phase(phase, "A") / "network.pth").is_file()
    run(context)
    assert len(lines) == 1


class TestStep:
    def run(self, context, *labels):
        embeddings = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))[: len(labels)].requires_grad_()
        batch = {"data": embeddings, "target": torch.tensor(labels)}
        self.watch = ContrastWatch(context, "coarse", context.branches[0], 1, 0.1, None, torch.nn.Identity)
        return *module._step(context, 0.1, self.watch, lambda data, target: (data, target), batch), embeddings

    @pytest.mark.parametrize("labels", [(1, 1, 1), (0, 0, 0), (1, 1, -1), (-1, -1, -1)])
    def test_batch_of_one_class_is_an_exact_zero_with_a_remark(self, make_context, labels) -> None:
        loss, remark, embeddings = self.run(make_context(), *labels)
        loss.backward()
        assert loss.item() == 0 and remark == ONE_CLASS
        assert embeddings.grad.eq(0).all()

    def test_batch_of_both_classes_has_a_loss_and_no_remark(self, make_context) -> None:
        loss, remark, _ = self.run(make_context(), 0, 0, 1, 1, -1)
        assert loss.item() > 0 and remark is None

    def test_samples_without_annotation_do_not_count(self, make_context) -> None:
        with_them, _, _ = self.run(make_context(), 0, 0, 1, 1, -1)
        without, _, _ = self.run(make_context(), 0, 0, 1, 1)
        torch.testing.assert_close(with_them, without)


def test_contrast_uses_the_phase_s_own_numbers(make_context, write_pseudo_labels, monkeypatch) -> None:
    context = make_context(mgcl={"coarse": {"batch_size": 3, "epochs": 7, "temperature": 0.3, "lr": 0.5}})
    write_pseudo_labels(context, context.branches[0], 2)
    jobs = []
    monkeypatch.setattr(module, "train", lambda _, job: jobs.append(job) or [1.0])
    Coarse().run(context)
    own, fallback = jobs
    assert (own.phase, own.branch, own.epochs, own.optimiser.lr, own.cosine) == ("coarse", "A", 7, 0.5, True)
    assert own.iterations == 3  # 8 slices of the pool
    assert fallback.iterations == 6  # 16 labelled slices
    assert own.step.args[1] == 0.3
    with own.batches() as batches:
        assert next(batches)["data"].shape == (3, 2, 32, 32)
