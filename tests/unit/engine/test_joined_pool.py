"""`left_out_joins_pool`: labelled cases in the pool, without their labels."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_mgcl.engine.datasets import kinds, pool_dataset, unlabelled_dataset
from nnunet_mgcl.system.errors import UserError


@pytest.fixture
def context(make_context):
    context = make_context()
    context.train_cases = ["case_0", "case_1"]
    context.join_pool(["case_2", "case_3"])
    return context


def test_images_join_every_modality_and_labels_stay_out(context) -> None:
    for branch, own in zip(context.branches, (["pool_0", "pool_1"], []), strict=True):
        for dataset in (pool_dataset(context, branch), unlabelled_dataset(context.without_labels(), branch)):
            assert dataset.identifiers == [f"pool:{case}" for case in ["case_2", "case_3", *own]]
            assert kinds(dataset) == {"unlabelled": 1.0}
            image, mask, _, properties = dataset.load_case("pool:case_2")
            labelled, *_ = context.dataset_class(context.labelled_folder, ["case_2"]).load_case("case_2")
            np.testing.assert_array_equal(np.asarray(image[:]), np.asarray(labelled[:])[branch.channels])
            assert np.asarray(mask[:]).max() == 0 and not properties["class_locations"][1]


def test_they_take_pseudo_labels_as_the_others_do(context, write_pseudo_labels) -> None:
    branch = context.branches[1]
    write_pseudo_labels(context, branch, 1)
    dataset = pool_dataset(context, branch, round_=1)
    assert kinds(dataset) == {"pseudo_labelled": 1.0}
    assert np.asarray(dataset.load_case("pool:case_3")[1][:]).max() == 1


def test_a_pool_case_of_the_same_name_is_refused(make_context) -> None:
    with pytest.raises(UserError, match="pool_1"):
        make_context().join_pool(["case_2", "pool_1"])
