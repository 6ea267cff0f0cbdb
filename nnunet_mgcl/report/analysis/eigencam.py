"""EigenCAM (Muhammad and Yeasin, IJCNN 2020): what a layer's activations have most in common, as a map."""

from __future__ import annotations

import torch
from torch import Tensor


def eigencam(activations: Tensor) -> Tensor:
    """The activations' projection on their first right singular vector, `L = O V_1` of `O = U S V^T`.

    Our readings: O is not centred, as printed (pytorch-grad-cam subtracts the mean); all samples make up one O, so
    that maps of the slices of a volume can be compared. A singular vector has no sign of its own: it is the one with
    which the map rises with the length of the activation vector, because otherwise chance inverts a map.

    Args:
        activations: `(N, C, ...)`, of one layer for N samples.

    Returns:
        `(N, ...)`, not normalised.
    """
    rows = activations.movedim(1, -1)
    matrix = rows.reshape(-1, rows.shape[-1]).double()
    vector = torch.linalg.eigh(matrix.T @ matrix).eigenvectors[:, -1]  # of the largest: they come in rising order
    projection, length = matrix @ vector, matrix.norm(dim=1)
    rises = (projection - projection.mean()) @ (length - length.mean())
    return torch.where(rises < 0, -projection, projection).view(rows.shape[:-1])
