from __future__ import annotations

import numpy as np
import pytest

from nnunet_mgcl.engine.datasets import (
    labelled_and_pool_dataset,
    labelled_dataset,
    pool_dataset,
    unlabelled_dataset,
)
from nnunet_mgcl.pretraining.monitor.lesion_counts import confident_cases
from nnunet_mgcl.pretraining.pseudo_label_notes import add_note


def write_confidences(context, **confidences) -> None:
    for case, confidence in confidences.items():
        add_note(context.layout.pseudo_labels(1, "A"), 0, case, confidence, 0 if confidence is None else 100)


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [(0.0, ["low", "at", "high"]), (0.7, ["at", "high"]), (0.71, ["high"]), (1.0, [])],
)
def test_a_case_joins_from_the_threshold_on_and_never_without_a_lesion(make_context, threshold, expected) -> None:
    pool = {"A": ["low", "at", "high", "empty"], "B": []}
    context = make_context(pool=pool, mgcl={"pseudo_label": {"confidence": threshold}})
    write_confidences(context, low=0.2, at=0.7, high=0.99, empty=None)
    assert confident_cases(context, context.branches[0]) == expected


def test_labelled_cases_are_the_fold_s_training_cases_as_the_branch_sees_them(make_context) -> None:
    context = make_context()
    context.train_cases = ["case_0", "case_2"]
    for branch, channels in zip(context.branches, (2, 1), strict=True):
        dataset = labelled_dataset(context, branch)
        assert dataset.identifiers == ["case_0", "case_2"]
        data, seg, _, properties = dataset["case_0"]
        assert data.shape[0] == channels
        assert set(map(int, seg[:].ravel())) == {-1, 0, 1}
        assert len(properties["class_locations"][1]) > 0


def test_pool_joins_the_images_with_the_masks_of_the_asked_round(make_context, write_pseudo_labels) -> None:
    context = make_context()
    branch = context.branches[0]
    write_pseudo_labels(context, branch, 1, lesion=None)
    write_pseudo_labels(context, branch, 2)
    lesions = [pool_dataset(context, branch, round_)["pool:pool_0"][1][:].max() for round_ in (None, 1, 2)]
    assert lesions == [0, 0, 1]


def test_labelled_and_some_pool_cases(make_context, write_pseudo_labels) -> None:
    context = make_context()
    branch = context.branches[0]
    write_pseudo_labels(context, branch, 1)
    dataset = labelled_and_pool_dataset(context, branch, ["pool_1"], 1)
    assert dataset.identifiers == [*context.train_cases, "pool:pool_1"]
    assert dataset["pool:pool_1"][1][:].max() == 1


@pytest.mark.parametrize("labels", ["masks", "ignore", "regions"])
def test_images_without_labels_have_no_trace_of_one(make_context, labels) -> None:
    """The pool's, or where a branch has none the training cases'; what lies outside of the head is known of images."""
    run = make_context(labels=labels).without_labels()
    for branch, cases in zip(
        run.branches, (["pool:pool_0", "pool:pool_1"], [f"case_{i}" for i in range(4)]), strict=True
    ):
        dataset = unlabelled_dataset(run, branch)
        assert dataset.identifiers == cases
        for case in cases:
            data, mask, _, properties = dataset.load_case(case)
            assert data.shape[0] == len(branch.channels)
            assert set(np.unique(mask[:]).tolist()) <= {-1, 0}
            assert not properties["class_locations"]
    assert not hasattr(run, "train_cases") and not hasattr(run, "table")
