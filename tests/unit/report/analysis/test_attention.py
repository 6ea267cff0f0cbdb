from __future__ import annotations

import numpy as np
import pytest
import torch

from nnunet_mgcl.network.mrff import MRFF
from nnunet_mgcl.report.analysis.attention import modality_attention, region_numbers


def head_and_features(modalities: int, slices: int) -> tuple[MRFF, torch.Tensor, torch.Tensor]:
    torch.manual_seed(4)
    head = MRFF(modalities * slices, 8, 8, grid=2, heads=3).double()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    features = torch.randn(2, modalities * slices, 8, 8, dtype=torch.float64)
    valid = torch.ones(2, slices, dtype=torch.bool)
    valid[1, -2:] = False
    return head, features, valid.repeat(1, modalities)


def test_shares_are_sums_over_the_attended_and_means_over_the_attending_slices():
    modalities, slices = 3, 4
    head, features, valid = head_and_features(modalities, slices)
    weights = head.attention(head.regions(features, valid), valid).detach()
    shares = modality_attention(head, features, valid, modalities).detach()
    assert shares.shape == (2, 4, modalities, modalities)
    for case, region, attending, attended in np.ndindex(*shares.shape):
        of_heads = []
        for heads_weights in weights[case, region]:
            for query in range(attending * slices, (attending + 1) * slices):
                if valid[case, query]:
                    keys = range(attended * slices, (attended + 1) * slices)
                    of_heads.append(sum(float(heads_weights[query, key]) for key in keys))
        assert float(shares[case, region, attending, attended]) == pytest.approx(sum(of_heads) / len(of_heads))


def test_content_of_padded_slices_changes_nothing():
    head, features, valid = head_and_features(3, 4)
    before = modality_attention(head, features, valid, 3)
    features[~valid] = 1000.0
    assert torch.equal(modality_attention(head, features, valid, 3), before)


def test_modality_that_outshines_the_others_draws_the_attention_where_it_does():
    head, _, valid = head_and_features(3, 4)
    for weight in (head.query, head.key):
        weight.data.fill_(1.0)
    features = torch.full((2, 12, 8, 8), 0.1, dtype=torch.float64)
    features[:, 4:8, :4, 4:] = 1.0  # the second modality, upper right
    shares = modality_attention(head, features, valid, 3)
    assert (shares[:, 1, :, 1] > 0.9).all()
    torch.testing.assert_close(shares[:, [0, 2, 3]], torch.full((2, 3, 3, 3), 1 / 3, dtype=torch.float64))


def test_region_numbers_run_row_by_row():
    numbers = region_numbers((8, 12), (1, 1), (8, 12), 2)
    assert numbers[0, [0, 11]].tolist() == [0, 1] and numbers[7, [0, 11]].tolist() == [2, 3]
    assert np.unique(numbers, return_counts=True)[1].tolist() == [24] * 4
