from __future__ import annotations

import pytest
import torch

from nnunet_mgcl.network.fusion import CombinationFusion, SharedFusion, branch_channels, label_membership
from nnunet_mgcl.plan.config import MGCLConfig


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 2, 4, 5)])
def test_shared_fusion_starts_at_the_mean(shape) -> None:
    logits = [torch.randn(shape) for _ in range(3)]
    torch.testing.assert_close(SharedFusion(3, 3)(logits), sum(logits) / 3)


def test_shared_fusion_weighs_every_modality_and_output_by_itself() -> None:
    fusion = SharedFusion(2, 3)
    with torch.no_grad():
        fusion.weight.copy_(torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]]))
    a, b = torch.randn(2, 4, 3, 5, 5)
    expected = torch.stack([a[:, 0], b[:, 1], 2 * a[:, 2] - b[:, 2]], dim=1)
    torch.testing.assert_close(fusion([a, b]), expected)


def test_one_branch_is_passed_through_without_a_parameter() -> None:
    fusion = SharedFusion(1, 3)
    assert list(fusion.parameters()) == [] and fusion.state_dict() == {}
    logits = torch.randn(2, 3, 4, 4)
    assert torch.equal(fusion([logits]), logits)


def test_combinations_have_no_parameter_and_travel_in_the_plan_not_in_the_checkpoint() -> None:
    fusion = CombinationFusion(torch.tensor([[False], [True]]))
    assert list(fusion.parameters()) == [] and fusion.state_dict() == {}


def test_combinations_keep_half_precision() -> None:
    fusion = CombinationFusion(torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1]]))
    assert fusion([torch.randn(1, 1, 4).half()] * 2).dtype == torch.half


def test_membership_columns_follow_the_modalities_not_the_masks() -> None:
    config = MGCLConfig(modalities={"DWI": [0], "FLAIR": [1]}, lesion_labels={"FLAIR": [2, 3], "DWI": [1, 3]})
    membership = label_membership(config.labels_by_branch, 4)
    assert membership.int().tolist() == [[0, 0], [1, 0], [0, 1], [1, 1]]
    assert branch_channels(membership) == [1, 2]
