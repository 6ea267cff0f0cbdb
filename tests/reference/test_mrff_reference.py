"""Eq. 10-16 of the paper, re-derived with plain loops in float64.

Eq. 9 is the encoders; Eq. 10's mean over channels and the stacking happen where these are called, so that the
input here is the paper's F.
"""

from __future__ import annotations

import math

import pytest
import torch

from nnunet_mgcl.network.mrff import MRFF

Matrix = list[list[float]]


def times(a: Matrix, b: Matrix) -> Matrix:
    return [[sum(a[r][i] * b[i][c] for i in range(len(b))) for c in range(len(b[0]))] for r in range(len(a))]


def attention_weights(query: Matrix, key: Matrix, valid: list[bool]) -> Matrix:
    """The softmax of Eq. 12, over valid keys only."""
    rows = []
    for q in query:
        exponentials = [
            math.exp(sum(a * b for a, b in zip(q, k, strict=True)) / math.sqrt(len(q))) if v else 0.0
            for k, v in zip(key, valid, strict=True)
        ]
        rows.append([e / sum(exponentials) for e in exponentials])
    return rows


def attention(query: Matrix, key: Matrix, value: Matrix, valid: list[bool]) -> Matrix:
    """Eq. 12."""
    return times(attention_weights(query, key, valid), value)


def sub_region(maps: list[Matrix], row: int, column: int, height: int, width: int) -> Matrix:
    """Eq. 11: one sub-region of every token, flattened."""
    return [
        [token[row * height + x][column * width + y] for x in range(height) for y in range(width)] for token in maps
    ]


def layer_norm(vector: list[float], valid: list[bool], weight: list[float], bias: list[float]) -> list[float]:
    entries = [x for x, v in zip(vector, valid, strict=True) if v]
    mean = sum(entries) / len(entries)
    variance = sum((x - mean) ** 2 for x in entries) / len(entries)
    return [
        (x - mean) / math.sqrt(variance + 1e-5) * w + b if v else 0.0
        for x, v, w, b in zip(vector, valid, weight, bias, strict=True)
    ]


def fusion(maps: list[Matrix], valid: list[bool], head: MRFF, grid: int, k: int) -> Matrix:
    """Eq. 11-15 for one case whose map is a multiple of the grid."""
    query, key, value, out = (weight.tolist() for weight in (head.query, head.key, head.value, head.out))
    height, width = len(maps[0]) // grid, len(maps[0][0]) // grid
    rows = []
    for i in range(grid * grid):
        region = sub_region(maps, i // grid, i % grid, height, width)
        outputs = [
            attention(times(region, query[i][j]), times(region, key[i][j]), times(region, value[i][j]), valid)
            for j in range(k)
        ]
        concatenated = [[x for head_j in outputs for x in head_j[t]] for t in range(len(maps))]
        for projected, residual, v in zip(times(concatenated, out[i]), region, valid, strict=True):  # Eq. 14
            rows.append([a + b if v else 0.0 for a, b in zip(projected, residual, strict=True)])  # Eq. 15
    return rows


def mrff(maps: list[Matrix], valid: list[bool], head: MRFF, grid: int, k: int) -> float:
    """Eq. 16 before the sigmoid, for one case whose map is a multiple of the grid."""
    vector = [sum(row) / len(row) for row in fusion(maps, valid, head, grid, k)]
    normed = layer_norm(vector, valid * (grid * grid), head.norm.weight.tolist(), head.norm.bias.tolist())
    return sum(w * x for w, x in zip(head.regression.weight[0].tolist(), normed, strict=True))


def random_head(tokens: int, height: int, width: int, grid: int, heads: int) -> MRFF:
    torch.manual_seed(6)
    head = MRFF(tokens, height, width, grid=grid, heads=heads).double()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    return head


@pytest.mark.parametrize(("height", "width", "grid", "heads"), [(8, 8, 4, 4), (4, 8, 2, 3), (6, 3, 3, 1), (2, 2, 1, 2)])
def test_logit_is_eq_10_to_16(height: int, width: int, grid: int, heads: int) -> None:
    tokens = 6
    head = random_head(tokens, height, width, grid, heads)
    features = torch.randn(3, tokens, height, width, dtype=torch.float64)
    valid = torch.ones(3, tokens, dtype=torch.bool)
    valid[1, [2, 5]] = False
    valid[2, 1:] = False
    cases = list(zip(features.tolist(), valid.tolist(), strict=True))
    fused = torch.tensor([fusion(*case, head, grid, heads) for case in cases], dtype=torch.float64)
    torch.testing.assert_close(head.fuse(features, valid), fused, rtol=1e-10, atol=1e-12)
    expected = [mrff(*case, head, grid, heads) for case in cases]
    assert head(features, valid).tolist() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("height", "width", "grid", "heads"), [(8, 8, 4, 4), (4, 8, 2, 3), (2, 2, 1, 2)])
def test_attention_is_the_softmax_of_eq_12_and_13(height: int, width: int, grid: int, heads: int) -> None:
    tokens = 6
    head = random_head(tokens, height, width, grid, heads)
    features = torch.randn(2, tokens, height, width, dtype=torch.float64)
    valid = torch.tensor([[True] * 6, [True, True, False] * 2])
    regions = [
        [sub_region(case, i // grid, i % grid, height // grid, width // grid) for i in range(grid * grid)]
        for case in features.tolist()
    ]
    expected = [
        [
            [
                attention_weights(times(region, query), times(region, key), own)
                for query, key in zip(*weights, strict=True)
            ]
            for region, *weights in zip(case, head.query.tolist(), head.key.tolist(), strict=True)
        ]
        for case, own in zip(regions, valid.tolist(), strict=True)
    ]
    features[1, [2, 5]] = torch.nan
    attention = head.attention(head.regions(features, valid), valid)
    assert attention.shape == (2, grid * grid, heads, tokens, tokens)
    real = valid[:, None, None, :, None].expand_as(attention)  # the rows of padded tokens have no meaning
    torch.testing.assert_close(
        attention[real], torch.tensor(expected, dtype=torch.float64)[real], rtol=1e-10, atol=1e-14
    )
    assert (attention.sum(dim=-1) - 1).abs().max() < 1e-12
    assert (attention[1, :, :, :, [2, 5]] == 0).all()


@pytest.mark.parametrize(("size", "pooled"), [((9, 11), (8, 8)), ((3, 5), (4, 4)), ((8, 12), (8, 12))])
def test_map_is_averaged_to_a_multiple_of_the_grid(size: tuple[int, int], pooled: tuple[int, int]) -> None:
    head = random_head(2, *size, grid=4, heads=2)
    features = torch.randn(1, 2, *size, dtype=torch.float64)
    maps = [
        [
            [
                sum(sum(row[y0:y1]) for row in token[x0:x1]) / ((x1 - x0) * (y1 - y0))
                for y0, y1 in bins(size[1], pooled[1])
            ]
            for x0, x1 in bins(size[0], pooled[0])
        ]
        for token in features[0].tolist()
    ]
    expected = mrff(maps, [True, True], head, 4, 2)
    assert head(features, torch.ones(1, 2, dtype=torch.bool)).item() == pytest.approx(expected, rel=1e-10)


def bins(size: int, count: int) -> list[tuple[int, int]]:
    """Adaptive pooling's bins."""
    return [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


@pytest.mark.parametrize(
    ("size", "d_k", "n"), [((8, 8), 4, 4), ((14, 14), 6, 9), ((8, 16), 5, 8), ((20, 24), 11, 30), ((2, 2), 2, 1)]
)
def test_width_of_the_projections_is_half_the_side(size: tuple[int, int], d_k: int, n: int) -> None:
    head = MRFF(6, *size, grid=4, heads=3)
    assert head.query.shape == head.key.shape == head.value.shape == (16, 3, n, d_k)
    assert head.out.shape == (16, 3 * d_k, n)
    assert head.regression.weight.shape == (1, 16 * 6)
