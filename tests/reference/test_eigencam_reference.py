"""EigenCAM by hand, and against NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from nnunet_mgcl.report.analysis.eigencam import eigencam

SHAPES = [(1, 5, 6, 7), (3, 8, 4, 5), (1, 4, 3, 4, 5), (2, 9, 2, 2), (2, 6, 1, 1)]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def activations(shape: tuple[int, ...]) -> torch.Tensor:
    """As after a leaky rectifier."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return torch.nn.functional.leaky_relu(values)


def matrix(tensor: torch.Tensor) -> np.ndarray:
    """O, with a row a position and a column a channel."""
    return tensor.movedim(1, -1).reshape(-1, tensor.shape[1]).numpy()


def equal_up_to_sign(first: np.ndarray, second: np.ndarray) -> bool:
    return np.allclose(first, second) or np.allclose(first, -second)


def test_by_hand() -> None:
    # O = [[1, 1], [2, 2], [0, 0], [3, 3]]: V_1 = (1, 1) / sqrt(2), O V_1 = sqrt(2) (1, 2, 0, 3).
    own = torch.tensor([[[[1.0, 2.0], [0.0, 3.0]]] * 2]).squeeze(2)
    expected = math.sqrt(2) * torch.tensor([[[1.0, 2.0], [0.0, 3.0]]], dtype=torch.float64)
    torch.testing.assert_close(eigencam(own), expected)
    torch.testing.assert_close(eigencam(-own), expected)


@each_shape
def test_it_is_the_projection_on_numpy_s_first_right_singular_vector(shape: tuple[int, ...]) -> None:
    own = activations(shape)
    _, _, transposed = np.linalg.svd(matrix(own))
    assert equal_up_to_sign(eigencam(own).numpy().ravel(), matrix(own) @ transposed[0])


@each_shape
def test_sign_makes_the_map_rise_with_the_length_of_the_activations(shape: tuple[int, ...]) -> None:
    own = activations(shape)
    torch.testing.assert_close(eigencam(-own), eigencam(own))
    correlation = np.corrcoef(eigencam(own).numpy().ravel(), np.linalg.norm(matrix(own), axis=1))[0, 1]
    assert correlation > 0


def test_all_samples_share_one_component() -> None:
    own = activations((3, 8, 4, 5))
    torch.testing.assert_close(eigencam(own.transpose(0, 2).contiguous()).transpose(0, 1), eigencam(own))
    alone = torch.cat([eigencam(sample[None]) for sample in own])
    assert not torch.allclose(alone, eigencam(own))


def test_dead_layer_has_an_empty_map() -> None:
    assert eigencam(torch.zeros(2, 3, 4, 4)).abs().max() == 0
