from __future__ import annotations

import pytest
import torch

from nnunet_mgcl.network.feature_level import FeatureLevel
from nnunet_mgcl.network.tss_classifier import TSSClassifier
from nnunet_mgcl.network.tss_heads import HEADS

MODALITIES = 2
PLANE = FeatureLevel(1, 6, 8, 8)
"""In 2d a position is a slice."""
VOLUME = FeatureLevel(2, 3, 8, 8)
"""In 3d, here, every position stands for two of six slices."""


def classifier(level: FeatureLevel, kind: str = "mrff") -> TSSClassifier:
    torch.manual_seed(0)
    return TSSClassifier(kind, [[0, 2], [1]], level, grid=2, heads=2)


def slices(*valid: int) -> torch.Tensor:
    return torch.tensor([valid], dtype=torch.bool)


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize(
    ("level", "valid", "padded"), [(PLANE, slices(1, 1, 1, 1, 0, 0), [4, 5]), (VOLUME, slices(1, 1, 1, 0, 0, 0), [2])]
)
def test_content_of_padded_positions_changes_no_bit(kind, level, valid, padded) -> None:
    head = classifier(level, kind)
    features = torch.randn(1, MODALITIES * level.positions, 8, 8)
    before = head(features, valid)
    for modality in range(MODALITIES):
        features[:, [modality * level.positions + p for p in padded]] = 1e6
    assert torch.equal(head(features, valid), before)


@pytest.mark.parametrize(
    ("level", "valid", "expected"),
    [
        (PLANE, slices(1, 1, 1, 0, 0, 0), [1, 1, 1, 0, 0, 0]),
        (VOLUME, slices(1, 1, 1, 1, 1, 1), [1, 1, 1]),
        (VOLUME, slices(1, 1, 1, 0, 0, 0), [1, 1, 0]),  # one real slice of two is enough
        (VOLUME, slices(1, 1, 0, 0, 0, 0), [1, 0, 0]),
    ],
)
def test_a_position_is_padded_where_all_its_slices_are(level, valid, expected, monkeypatch) -> None:
    head, seen = classifier(level), []
    monkeypatch.setattr(head.head, "forward", lambda _, positions: seen.append(positions))
    head(torch.zeros(1, MODALITIES * level.positions, 8, 8), valid)
    assert seen[0].int().tolist() == [expected * MODALITIES]


def test_whether_the_head_is_trained_travels_in_the_state_dict() -> None:
    head = classifier(PLANE)
    assert not bool(head.trained)
    assert "trained" not in dict(head.named_parameters())
    head.trained.fill_(True)
    fresh = classifier(PLANE)
    fresh.load_state_dict(head.state_dict())
    assert bool(fresh.trained)
    untrained = {key: value for key, value in head.state_dict().items() if key != "trained"}
    with pytest.raises(RuntimeError, match="trained"):
        fresh.load_state_dict(untrained)
