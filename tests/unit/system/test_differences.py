from __future__ import annotations

import pytest

from nnunet_mgcl.system.differences import differences


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 1}}, None),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "a.b was 1, is 2"),
        ({"a": 1}, {}, "a is gone"),
        ({}, {"a": {"b": 1}}, "a is new"),
        ({"a": [1, 2]}, {"a": [1, 3]}, "a was [1, 2], is [1, 3]"),
        ({"a": "x" * 41}, {"a": "y"}, "a has changed"),
        ({"a": {"b": 1}}, {"a": None}, "a was {'b': 1}, is None"),
        (False, True, "it was False, is True"),
        ({"a": 1, "b": 1, "c": 1, "d": 1, "e": 1}, {}, "a is gone; b is gone; c is gone; and 2 more"),
    ],
)
def test_first_differences_are_named_by_their_path(before, now, words) -> None:
    assert differences(before, now) == words
