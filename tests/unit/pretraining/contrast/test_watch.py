from __future__ import annotations

import random
from math import log

import numpy as np
import pytest
import torch

from nnunet_mgcl.data.tss_table import TSSRow, TSSTable
from nnunet_mgcl.engine.datasets import labelled_dataset
from nnunet_mgcl.losses import contrast_floor, slice_labels
from nnunet_mgcl.pretraining.coarse import Coarse, CoarseModel
from nnunet_mgcl.pretraining.contrast.cases import contrast_cases
from nnunet_mgcl.pretraining.contrast.watch import ContrastWatch
from nnunet_mgcl.pretraining.monitor.left_out import cases_left_out, shuffled_cases
from nnunet_mgcl.pretraining.monitor.warning_signs import Outcome
from nnunet_mgcl.system.files import read_json


@pytest.fixture
def context(make_context, write_pseudo_labels):
    context = make_context(mgcl={"coarse": {"epochs": 7, "lr": 1e-2}})
    context.branches = context.branches[:1]
    write_pseudo_labels(context, context.branches[0], 2)
    return context


def watch_of(context, looks=True, untrained=None):
    branch = context.branches[0]
    left_out = labelled_dataset(context, branch) if looks else None
    return ContrastWatch(context, "coarse", branch, 7, 0.1, left_out, lambda: untrained or model_of(context))


def model_of(context):
    torch.manual_seed(3)
    return CoarseModel(context.branches[0].build_unet(), context.config.coarse, None)


def test_phase_logs_and_draws_its_bounds_and_the_neighbours(context, lines) -> None:
    Coarse().run(context)
    (first,) = [line for line in lines if "untrained" in line and "left out of its batches" in line]
    assert "of 4 training cases" in first
    epochs = [line for line in lines if ": epoch " in line]
    assert all(f"chance {log(5):.4f}, floor" in line and "% of the way)" in line for line in epochs)
    assert [", kNN " in line for line in epochs] == [True, False, True, True, False, True, True]  # 7 * 0.2, 0.4, ...
    content = read_json(context.layout.phases / "curves.json")
    coarse, knn = content["coarse"], content["coarse_knn"]
    assert list(coarse["beside"]["A"]) == ["chance", "floor"]
    for loss, chance, floor in zip(coarse["curves"]["A"], *coarse["beside"]["A"].values(), strict=True):
        assert floor < loss and chance == pytest.approx(log(5))
    assert knn["at"]["A"] == [0, 1, 3, 4, 6, 7] and all(0 <= value <= 1 for value in knn["curves"]["A"])
    assert f"at its start {knn['curves']['A'][0]:.2f}" in first


def test_bounds_are_the_means_of_the_batches(context) -> None:
    watch = watch_of(context, looks=False)
    watch.note_batch([4, 2])
    watch.note_batch([3, 5])
    watch.after_epoch(torch.nn.Identity(), [1.0])
    assert watch.notes["chance"] == [pytest.approx((log(5) + log(7)) / 2)]
    assert watch.notes["floor"] == [pytest.approx((contrast_floor([4, 2], 0.1) + contrast_floor([3, 5], 0.1)) / 2)]
    watch.after_epoch(torch.nn.Identity(), [1.0, 0.0])  # an epoch of one-class batches
    assert np.isnan(watch.notes["chance"][1]) and "chance" not in watch.text([1.0, 0.0])


def test_progress_is_0_at_chance_and_1_at_the_floor() -> None:
    assert [Outcome(loss, 3.0, 1.0, None).progress for loss in (3.0, 2.5, 1.0)] == [0, 0.25, 1]
    assert Outcome(0.0, 1.0, 1.0, None).progress is None


def test_looking_leaves_mode_and_random_state(make_context) -> None:
    context = make_context(norm="BatchNorm")
    model, watch = model_of(context).train(), watch_of(context)
    watch.new = lambda: CoarseModel(context.branches[0].build_unet(), context.config.coarse, None)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    watch.before(model)
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert watch.notes["epochs"] == [0]


def test_other_ranks_do_not_look(context) -> None:
    context.rank = 1
    watch = watch_of(context)
    watch.before(torch.nn.Identity())
    assert watch.notes["knn"] == []


class Brightest(torch.nn.Module):
    """A sample is represented by its brightest voxel, or by nothing; lesions are bright."""

    def __init__(self, gain) -> None:
        super().__init__()
        self.gain = gain

    def pooled(self, image):
        return torch.stack([torch.ones(len(image)), self.gain * image.amax((1, 2, 3))], 1)

    def features(self, image):
        return image

    def labels(self, mask, _):
        return slice_labels(mask)


@pytest.mark.parametrize(("gain", "expected"), [(1.0, 1.0), (0.0, 0.5)])
def test_neighbours_tell_lesions_where_the_features_do(make_context, gain, expected) -> None:
    context = make_context(labels="shared")
    watch = watch_of(context, untrained=Brightest(gain))
    watch.before(Brightest(1 - gain))
    assert watch.untrained == pytest.approx(expected, abs=0.1)
    assert watch.notes["knn"] == [pytest.approx(1.5 - expected, abs=0.1)]


def test_reason_is_said_once_where_neighbours_tell_nothing(context, lines) -> None:
    context.train_cases = ["case_0"]
    watch = watch_of(context)
    watch.before(Brightest(1.0))
    watch.after_epoch(Brightest(1.0), [1.0] * 7)
    assert [line for line in lines if "single patient" in line] == lines and watch.notes["knn"] == []


@pytest.mark.parametrize("pool", [[], ["pool_0", "pool_1"]], ids=["no pool", "pseudo-labels of no use"])
def test_no_case_is_both_contrasted_and_looked_at(make_context, write_pseudo_labels, monkeypatch, pool) -> None:
    context = make_context(pool={"A": pool, "B": []})
    branch = context.branches[0]
    write_pseudo_labels(context, branch, 2, lesion=None)
    assert contrast_cases(context, branch, slice_labels).left_out == []  # 4 cases: all are needed
    monkeypatch.setattr("nnunet_mgcl.pretraining.contrast.cases.FEWEST_CASES", 4)
    cases = contrast_cases(context, branch, slice_labels)
    assert len(cases.left_out) == 2
    assert sorted([*cases.contrasted.identifiers, *cases.left_out]) == context.train_cases
    assert cases.left_out == contrast_cases(context, branch, slice_labels).left_out


def test_cases_of_one_patient_are_left_out_together(make_context) -> None:
    context = make_context()
    patients = {"case_0": "p", "case_1": "p", "case_2": "p", "case_3": "q"}
    context.table = TSSTable({case: TSSRow(True, None, patient) for case, patient in patients.items()})
    assert sorted(cases_left_out(context, context.branches[0], 4)) in (["case_0", "case_1", "case_2"], ["case_3"])


def test_resumed_phase_keeps_what_was_seen(context, make_context, monkeypatch) -> None:
    Coarse().run(context)
    expected = read_json(context.layout.phases / "curves.json")
    context.layout.state.unlink()
    (context.layout.phases / "curves.json").unlink()
    calls = []

    def killed(*_, **__):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt

    interrupted = make_context(mgcl={"coarse": {"epochs": 7, "lr": 1e-2}})
    interrupted.branches = interrupted.branches[:1]
    monkeypatch.setattr(interrupted.curves, "update", killed)
    with pytest.raises(KeyboardInterrupt):
        Coarse().run(interrupted)
    resumed = make_context(mgcl={"coarse": {"epochs": 7, "lr": 1e-2}})
    resumed.branches = resumed.branches[:1]
    Coarse().run(resumed)
    assert read_json(context.layout.phases / "curves.json") == expected


def test_resume_point_of_an_older_version_goes_on(context) -> None:
    """It has a curve and no notes."""
    watch = watch_of(context, looks=False)
    watch.note_batch([4, 2])
    watch.after_epoch(torch.nn.Identity(), [2.0, 1.5, 1.2])
    assert [np.isnan(value) for value in watch.notes["chance"]] == [True, True, False]
    assert watch.untrained is None and "untrained" not in watch.text([2.0, 1.5, 1.2])


def test_looking_on_changes_no_bit_of_the_training(context, make_context) -> None:
    """Weights, buffers and random state are those of a training that nobody looks at."""
    path = context.layout.phase("coarse", "A") / "network.pth"
    Coarse().run(context)
    watched = torch.load(path, weights_only=True)
    context.layout.state.unlink()
    path.unlink()
    again = make_context(mgcl={"coarse": {"epochs": 7, "lr": 1e-2}})
    again.branches = again.branches[:1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ContrastWatch, "_knn", lambda *_: None)
        Coarse().run(again)
    unwatched = torch.load(path, weights_only=True)
    assert all(torch.equal(value, unwatched[name]) for name, value in watched.items())


def test_validation_cases_are_never_looked_at(make_context, write_pseudo_labels) -> None:
    context = make_context()
    context.train_cases = ["case_2", "case_0"]
    write_pseudo_labels(context, context.branches[0], 2)
    assert sorted(contrast_cases(context, context.branches[0], slice_labels).left_out) == ["case_0", "case_2"]
    assert set(shuffled_cases(context, context.branches[0])) == {"case_0", "case_2"}
