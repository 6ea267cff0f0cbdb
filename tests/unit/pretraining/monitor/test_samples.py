"""Which samples are looked at; `test_embeddings.py` compares what becomes of them with plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_mgcl.pretraining.monitor.samples import draw


@pytest.mark.parametrize(
    ("with_lesion", "without", "kept"), [(5, 6, (5, 6)), (8, 40, (8, 12)), (40, 8, (12, 8)), (40, 40, (10, 10))]
)
def test_as_many_lesions_as_possible_are_drawn(with_lesion, without, kept) -> None:
    lesion = np.random.default_rng(0).permutation([True] * with_lesion + [False] * without)
    chosen = draw(lesion, 3, most=20)
    assert (lesion[chosen].sum(), (~lesion[chosen]).sum()) == kept
    assert (np.diff(chosen) > 0).all()
    assert np.array_equal(chosen, draw(lesion, 3, most=20))
    assert len(chosen) == len(lesion) or not np.array_equal(chosen, draw(lesion, 4, most=20))
