from __future__ import annotations

import shlex
from math import nan

import pytest

from nnunet_mgcl.commands.plan import parse_overrides
from nnunet_mgcl.engine.training_warnings import read_warnings
from nnunet_mgcl.plan.presets import apply_preset
from nnunet_mgcl.pretraining.coarse import Coarse
from nnunet_mgcl.pretraining.contrast import cases as contrast_cases
from nnunet_mgcl.pretraining.monitor.warning_signs import (
    LesionCounts,
    Outcome,
    confidence_warning,
    contrast_warning,
    fallback_warning,
    pseudo_label_warning,
    unlike_training,
)

TRAINING = LesionCounts(cases=20, with_lesion=17, voxels=100.0)


def changed(context, warning, dataset_json):
    """The configuration that the remedy's command makes."""
    command = warning.remedy.partition("mgcl plan ")[2].partition(", then")[0]
    words = shlex.split(command)
    values = words[words.index("--set") + 1 : words.index("-o")]
    plans = context.memory.plans
    new = apply_preset(plans, ["2d"], {"configurations": {}}, parse_overrides(values), words[-1], dataset_json, True)
    assert words[:6] == ["-d", plans["dataset_name"], "-c", "2d", "-p", plans["plans_name"]]
    assert f"then train with -p {words[-1]}" in warning.remedy
    return new["configurations"]["2d"]["mgcl"]


@pytest.mark.parametrize(
    ("pool", "found"),
    [
        (LesionCounts(40, 0, 0.0), "lesions in 0 of 40 pool cases, while 17 of 20 training cases have one"),
        (LesionCounts(40, 1, 90.0), "lesions in 1 of 40"),
        (LesionCounts(40, 2, 9.0), "9.0 lesion voxels in a pool case, while a training case has 100.0"),
        (LesionCounts(40, 40, 1001.0), "1001.0 lesion voxels"),
        (LesionCounts(40, 2, 11.0), None),
        (LesionCounts(40, 40, 900.0), None),
    ],
)
def test_pseudo_labels_are_held_against_the_training_masks(pool, found) -> None:
    said = unlike_training(pool, TRAINING)
    assert said is None if found is None else found in said


def test_pool_without_lesions_is_like_training_cases_without_lesions() -> None:
    assert unlike_training(LesionCounts(40, 0, 0.0), LesionCounts(20, 0, 0.0)) is None


def test_counts_are_those_of_the_cases() -> None:
    assert LesionCounts.of([0, 3, 6, 3]) == LesionCounts(4, 3, 3.0)


@pytest.mark.parametrize("source", ["seed", "self_train"])
def test_empty_pseudo_labels_ask_for_a_longer_teacher(make_context, dataset_json, source) -> None:
    context = make_context(labels="shared")
    warning = pseudo_label_warning(context, "pseudo_label_1", source, "A", LesionCounts(40, 0, 0.0), TRAINING)
    assert "0 of 40" in warning.message
    assert changed(context, warning, dataset_json)[source]["epochs"] == 4
    assert pseudo_label_warning(context, "pseudo_label_1", source, "A", LesionCounts(40, 30, 90.0), TRAINING) is None


CONFIDENCES = [0.8 + 0.001 * n for n in range(190)]


@pytest.mark.parametrize(
    ("confidences", "passing", "value"),
    [
        ([*CONFIDENCES, *[None] * 10], 190, 0.84),  # three quarters of the 190 reach it
        ([0.4, 0.5, 0.65, None], 0, 0.5),
        ([0.8] * 94 + [0.6] * 6, None, None),
        ([0.8] * 9, None, None),  # few cases: all may be good
        ([None] * 40, None, None),  # another warning's
    ],
)
def test_confidence_that_selects_all_or_nothing(make_context, dataset_json, confidences, passing, value) -> None:
    context = make_context(labels="shared")
    warning = confidence_warning(context, "self_train", "A", confidences)
    if value is None:
        assert warning is None
    else:
        assert f"lets {passing} of {len(confidences)} pool cases pass" in warning.message
        assert changed(context, warning, dataset_json)["pseudo_label"]["confidence"] == value


def test_contrast_of_true_masks_names_the_reason_and_the_teachers(make_context, dataset_json) -> None:
    context = make_context(labels="shared")
    warning = fallback_warning(context, "fine", "A", "why", "4 cases")
    assert "(why), so it contrasts 4 cases" in warning.message
    block = changed(context, warning, dataset_json)
    assert block["seed"]["epochs"] == block["self_train"]["epochs"] == 4


@pytest.mark.parametrize(
    ("loss", "neighbours", "warns"),
    [
        (3.0, None, True),
        (3.0, (0.6, 0.64), True),
        (3.0, (0.6, 0.66), False),  # the loss hides what was learned
        (2.85, None, True),
        (2.7, None, False),
        (2.0, (0.6, 0.61), False),
        (2.0, (0.6, 0.6), True),  # learned by heart
        (2.0, (0.97, 0.96), False),
        (0.0, None, True),
        (nan, None, False),  # an older version's curve
    ],
)
def test_contrast_at_chance(make_context, dataset_json, loss, neighbours, warns) -> None:
    context = make_context(labels="shared", mgcl={"coarse": {"lr": 0.01}})
    warning = contrast_warning(context, "coarse", "A", Outcome(loss, 3.0, 1.0, neighbours))
    assert (warning is not None) is warns
    if warning:
        block = changed(context, warning, dataset_json)["coarse"]
        assert block["lr"] == pytest.approx(0.03) and block["epochs"] == 4


@pytest.mark.parametrize(("pooling", "warns"), [("mean", True), ("max", False)])
def test_phase_that_cannot_learn_is_warned_of_and_one_that_learns_is_not(
    make_context, monkeypatch, lines, pooling, warns
) -> None:
    """InstanceNorm sets every channel's mean, so that H_s on the mean sees nothing; the lesions are bright."""
    monkeypatch.setattr(contrast_cases, "FEWEST_CASES", 4)
    coarse = {"epochs": 10, "lr": 1e-3, "pooling": pooling, "batch_size": 8}
    context = make_context(labels="shared", pool={"A": [], "B": []}, mgcl={"coarse": coarse})
    context.branches = context.branches[:1]
    Coarse().run(context)
    found = read_warnings(context.layout.warnings)
    assert bool(found) is warns and sum(line.startswith("WARNING coarse A") for line in lines) == warns
    if warns:
        assert "contrast learned nothing" in found[0].message and "coarse.lr=0.003" in found[0].remedy
