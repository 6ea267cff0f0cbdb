from __future__ import annotations

import shutil

import pytest
import torch
from torch import nn

from nnunet_mgcl.network.projection import PatchProjection, SliceProjection


def pass_through(head: nn.Module) -> nn.Module:
    """Makes both layers the identity, so that a head only pools, normalises and orders."""
    for layer in (head.hidden, head.out):
        nn.init.dirac_(layer.weight) if layer.weight.ndim > 2 else nn.init.eye_(layer.weight)
        nn.init.zeros_(layer.bias)
    return head


def levels(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    """Maps of two cases, one a level."""
    return [torch.randn(2, *shape) for shape in shapes]


def test_slice_representation_is_the_maximum_of_every_level() -> None:
    maps = levels((3, 8, 6), (5, 4, 3))
    expected = [[float(own[case, channel].max()) for own in maps for channel in range(own.shape[1])] for case in (0, 1)]
    assert SliceProjection((3, 5), 4).pooled(maps).tolist() == expected


@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_encoder_below_a_compiled_float16_head_learns() -> None:
    """What nnU-Net's compilation and mixed precision do on CUDA; `amax` gave gradients of 0 / 0 here."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.InstanceNorm2d(4, affine=True), nn.LeakyReLU())
    head = SliceProjection((4,), 4)
    compiled = torch.compile(lambda images: head([encoder(images)]))
    with torch.autocast("cpu", dtype=torch.float16):
        embeddings = compiled(torch.randn(6, 1, 16, 16))
    embeddings.square().sum().backward()
    assert encoder[1].weight.grad.isfinite().all() and encoder[1].weight.grad.abs().sum() > 0


def test_slab_representations_take_the_slices_that_their_label_takes() -> None:
    maps = levels((3, 5, 8, 6), (4, 2, 4, 3))
    pooled = SliceProjection((3, 4), 4).pooled(maps)
    assert pooled.shape == (4, 7)
    for case in range(2):
        for position, slices in enumerate((slice(0, 3), slice(2, 5))):  # 5 slices on 2 positions: adaptive bins
            expected = torch.cat([maps[0][case, :, slices].amax((1, 2, 3)), maps[1][case, :, position].amax((1, 2))])
            assert torch.equal(pooled[2 * case + position], expected)


def test_mean_pooling_of_older_versions_sees_the_deepest_level_only() -> None:
    maps = levels((3, 8, 6), (5, 4, 3))
    head = pass_through(SliceProjection((3, 5), 5, "mean"))
    torch.testing.assert_close(head(maps), maps[1].mean(dim=(2, 3)).relu())
    slabs = levels((3, 4, 8, 6), (5, 4, 3, 3))
    torch.testing.assert_close(head(slabs)[5], slabs[1][1, :, 1].mean(dim=(1, 2)).relu())


def test_what_is_common_to_all_samples_does_not_reach_the_embeddings() -> None:
    """Without the batch's normalisation the maxima of two slices would point almost the same way."""
    head = pass_through(SliceProjection((2, 6), 8))
    maps = [torch.rand(16, channels, 4, 4) for channels in (2, 6)]
    maps[0][8:, 0] += 0.5  # a lesion, in one of eight numbers that share an offset
    torch.testing.assert_close(head([own + 100 for own in maps]), head(maps), rtol=1e-3, atol=1e-3)


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
    features = torch.tensor([-2.0, 0.0, 5.0])[:, None, None].expand(1, 3, 2, 2)
    assert pass_through(SliceProjection((3,), 3, "mean"))([features]).tolist() == [[0, 0, 5]]
    assert pass_through(PatchProjection(3, 3, 2, 2))(features).tolist() == [[0, 0, 5]]
    assert SliceProjection((4, 7), 5).hidden.weight.shape == (7, 11)
    assert PatchProjection(7, 5, 16, 3).out.weight.shape == (5, 7, 1, 1, 1)


@pytest.mark.parametrize(
    ("head", "shape"),
    [
        (SliceProjection((4,), 8), (2, 4, 5, 5)),
        (PatchProjection(4, 8, 2, 2), (2, 4, 5, 5)),
        (PatchProjection(4, 8, 2, 3), (2, 4, 3, 5, 5)),
    ],
)
def test_last_layer_is_in_full_precision_under_autocast(head: nn.Module, shape: tuple[int, ...]) -> None:
    features: torch.Tensor | list[torch.Tensor] = torch.randn(shape)
    features = [features] if isinstance(head, SliceProjection) else features
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embeddings = head(features)
    assert embeddings.dtype == torch.float32
    assert not torch.equal(embeddings, embeddings.bfloat16().float())
