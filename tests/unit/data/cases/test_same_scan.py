from __future__ import annotations

import numpy as np
import pytest

from nnunet_mgcl.data.cases.same_scan import SameScans, divided_twins


@pytest.fixture
def images():
    random = np.random.default_rng(0)
    return {case: random.normal(size=(2, 5, 8, 8)).astype(np.float32) for case in "abc"}


def twins(images):
    scans = SameScans(images.__getitem__)
    for case, image in images.items():
        scans.add(case, image)
    return scans.twins()


def test_one_equal_channel_is_enough_whatever_its_number(images):
    images["c"][1] = images["a"][0]
    assert twins(images) == [("a", "c")]


def test_three_are_three_pairs(images):
    images["b"] = images["c"] = images["a"]
    assert twins(images) == [("a", "b"), ("a", "c"), ("b", "c")]


def test_an_equal_middle_slice_or_an_empty_channel_is_not_enough(images):
    images["b"][0, 2] = images["a"][0, 2]
    for image in images.values():
        image[1] = 0
    assert twins(images) == []


def test_twins_are_divided_where_one_is_trained_on_and_the_other_validated_with():
    pairs = [("a", "b"), ("c", "d")]
    assert divided_twins(["a", "c", "d"], ["b"], pairs) == ["a and b"]
    assert divided_twins(["b"], ["a"], pairs) == ["a and b"]
    assert divided_twins(["a", "b"], ["c", "d"], pairs) == []
