from __future__ import annotations

import numpy as np
import pytest

from nnunet_mgcl.evaluation.measures.classification import classification_metrics, dice


def test_dice_takes_any_numbers_of_one_shape_and_is_undefined_where_both_are_empty() -> None:
    empty, full = np.zeros((2, 500)), np.ones((2, 500), dtype=np.uint8)
    assert dice(empty, empty) is None and dice(empty, full) == dice(full, empty) == 0 and dice(full, full) == 1
    with pytest.raises(ValueError, match=r"\(2, 500\) and \(3,\)"):
        dice(full, np.ones(3))


@pytest.mark.parametrize(
    ("targets", "undefined", "reason"),
    [
        ([1, 1], {"SPE", "AUROC"}, "no negative cases"),
        ([0, 0], {"SEN", "AUROC"}, "no positive cases"),
        ([], {"ACC", "SEN", "SPE", "AUROC"}, "no positive and no negative cases"),
        ([0, 1], {"auroc_reason"}, None),
    ],
)
def test_what_is_undefined_is_none_with_a_reason(targets: list[int], undefined: set, reason: str) -> None:
    metrics = classification_metrics([0.2, 0.9][: len(targets)], targets)
    assert metrics["auroc_reason"] == reason
    assert {name for name, value in metrics.items() if value is None} == undefined
