from __future__ import annotations

import pytest
import torch
from torch import nn

from nnunet_mgcl.losses import patch_labels
from nnunet_mgcl.network.projection import PatchProjection, SliceProjection


def pass_through(head: nn.Module) -> nn.Module:
    """Makes both layers the identity, so that a head only pools and orders."""
    for layer in (head.hidden, head.out):
        nn.init.dirac_(layer.weight) if layer.weight.ndim > 2 else nn.init.eye_(layer.weight)
        nn.init.zeros_(layer.bias)
    return head


def test_slice_embedding_sees_the_mean_of_the_map() -> None:
    features = torch.rand(4, 3, 5, 6)
    embeddings = pass_through(SliceProjection(3, 3))(features)
    torch.testing.assert_close(embeddings, features.mean(dim=(2, 3)))


def test_slab_embeddings_are_one_a_z_position_case_by_case() -> None:
    features = torch.rand(2, 3, 4, 5, 6)
    embeddings = pass_through(SliceProjection(3, 3))(features)
    assert embeddings.shape == (8, 3)
    for case in range(2):
        for z in range(4):
            torch.testing.assert_close(embeddings[4 * case + z], features[case, :, z].mean(dim=(1, 2)))


@pytest.mark.parametrize("shape", [(8, 12), (9, 13), (3, 2)], ids=["whole", "ragged", "smaller than a patch"])
@pytest.mark.parametrize("depth", [None, 3])
def test_patch_embedding_sees_the_mean_of_its_patch(shape: tuple[int, int], depth: int | None) -> None:
    features = torch.rand(2, 3, depth or 1, *shape)
    head = pass_through(PatchProjection(3, 3, patch_size=4, dimensions=3 if depth else 2))
    embeddings = head(features if depth else features[:, :, 0])
    expected = [
        features[case, :, z, x : x + 4, y : y + 4].mean(dim=(1, 2))
        for case in range(2)
        for z in range(depth or 1)
        for x in range(0, shape[0], 4)
        for y in range(0, shape[1], 4)
    ]
    torch.testing.assert_close(embeddings, torch.stack(expected))


def test_projections_are_two_layers_with_a_rectifier_between() -> None:
    for head, shape in ((SliceProjection(3, 3), (1, 3, 2, 2)), (PatchProjection(3, 3, 2, 2), (1, 3, 2, 2))):
        embeddings = pass_through(head)(torch.tensor([-2.0, 0.0, 5.0])[:, None, None].expand(shape))
        assert embeddings.tolist() == [[0, 0, 5]]
    assert SliceProjection(7, 5).hidden.weight.shape == (7, 7)
    assert PatchProjection(7, 5, 16, 3).out.weight.shape == (5, 7, 1, 1, 1)


@pytest.mark.parametrize("shape", [(20, 35), (3, 20, 35)])
def test_patches_and_their_labels_are_in_the_same_order(shape: tuple[int, ...]) -> None:
    mask = (torch.rand(2, 1, *shape, generator=torch.Generator().manual_seed(0)) < 0.1).float()
    shares = pass_through(PatchProjection(1, 1, patch_size=16, dimensions=len(shape)))(mask)
    labels = patch_labels(mask, 16, 0.1).flatten()
    assert torch.equal(shares[:, 0] >= 0.1, labels == 1)
    assert 0 < labels.sum() < len(labels)


@pytest.mark.parametrize(
    ("head", "shape"),
    [
        (SliceProjection(4, 8), (2, 4, 5, 5)),
        (PatchProjection(4, 8, 2, 2), (2, 4, 5, 5)),
        (PatchProjection(4, 8, 2, 3), (2, 4, 3, 5, 5)),
    ],
)
def test_last_layer_is_in_full_precision_under_autocast(head: nn.Module, shape: tuple[int, ...]) -> None:
    features = torch.randn(shape)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embeddings = head(features)
    assert embeddings.dtype == torch.float32
    assert not torch.equal(embeddings, embeddings.bfloat16().float())
