from __future__ import annotations

import torch

from nnunet_mgcl.network.mrff import MRFF, MaskedLayerNorm, split_regions


def test_regions_are_the_tiles_of_the_map_row_by_row() -> None:
    rows, columns = torch.meshgrid(torch.arange(6), torch.arange(4), indexing="ij")
    features = torch.stack([10 * rows + columns, 1000 + 10 * rows + columns])[None].float()
    regions = split_regions(features, 2)
    assert regions.shape == (1, 4, 2, 6)
    assert regions[0, 1, 0].tolist() == [2, 3, 12, 13, 22, 23]
    assert regions[0, 2, 1].tolist() == [1030, 1031, 1040, 1041, 1050, 1051]


def test_attention_stays_within_a_region() -> None:
    torch.manual_seed(0)
    head = MRFF(5, 8, 8)
    valid = torch.ones(1, 5, dtype=torch.bool)
    regions = torch.randn(1, 16, 5, 4)
    changed = regions.clone()
    changed[0, 7, 2] += 1
    moved = (head.attend(regions, valid) != head.attend(changed, valid)).any(dim=-1)[0]
    assert moved.any(dim=1).nonzero().flatten().tolist() == [7]
    assert moved[7].all()


def test_masked_layer_norm_is_torch_s_where_everything_is_valid() -> None:
    norm, reference = MaskedLayerNorm(7), torch.nn.LayerNorm(7)
    torch.nn.init.normal_(reference.weight)
    torch.nn.init.normal_(reference.bias)
    norm.load_state_dict(reference.state_dict())
    x = torch.randn(3, 7)
    torch.testing.assert_close(norm(x, torch.ones_like(x, dtype=torch.bool)), reference(x))


def test_masked_layer_norm_is_that_of_the_valid_entries_alone() -> None:
    x = torch.tensor([[1.0, 4.0, 100.0, -2.0, torch.nan]])
    valid = torch.tensor([[True, True, False, True, False]])
    normed = MaskedLayerNorm(5)(x, valid)
    torch.testing.assert_close(normed[valid], torch.nn.functional.layer_norm(x[valid], (3,)))
    assert normed[~valid].tolist() == [0, 0]


def test_case_without_a_valid_token_stays_finite() -> None:
    logits = MRFF(3, 8, 8)(torch.full((2, 3, 8, 8), torch.nan), torch.zeros(2, 3, dtype=torch.bool))
    assert logits.tolist() == [0, 0]
