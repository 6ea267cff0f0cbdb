"""Turns what the network reads so that a person finds left and right, front and top where they belong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnunet_mgcl.pictures.anatomical_view import AnatomicalView


@dataclass(frozen=True)
class NetworkView:
    """How preprocessed arrays are turned. Their first axis, along which a 2d network goes slice by slice, stays first.

    Attributes:
        view: That of the image.
        transpose_backward: The plan's: from preprocessed axes to those of the image.
    """

    view: AnatomicalView
    transpose_backward: tuple[int, ...]

    @classmethod
    def of(cls, properties: Mapping[str, Any], transpose_backward: Sequence[int]) -> NetworkView:
        """The view of a preprocessed case, from its properties."""
        return cls(AnatomicalView.of(properties), tuple(transpose_backward))

    def turn(self, array: np.ndarray) -> np.ndarray:
        """A preprocessed array `(Z, Y, X)`, or part of one, as slices to look at."""
        turned = np.moveaxis(self.view.turn(array.transpose(self.transpose_backward)), self._slices, 0)
        return turned[:, ::-1] if self._is_upright else turned

    def turn_spacing(self, spacing: Sequence[float]) -> tuple[float, ...]:
        """The spacing of a preprocessed array in the order of the turned axes."""
        turned = list(self.view.turn_spacing(tuple(spacing[axis] for axis in self.transpose_backward)))
        return (turned.pop(self._slices), *turned)

    @property
    def sides(self) -> tuple[str, str] | None:
        """What is left and right in a turned slice: R and L, in sagittal ones A and P; None where it is not known."""
        return ("A", "P") if self.view.sides and self._slices == 2 else self.view.sides

    @property
    def _slices(self) -> int:
        """Where the preprocessed array's first axis is after turning."""
        mark = np.zeros((2, 2, 2), np.uint8)
        mark[1] = 1
        turned = self.view.turn(mark.transpose(self.transpose_backward))
        return next(axis for axis in range(3) if (np.diff(turned.astype(int), axis=axis) != 0).all())

    @property
    def _is_upright(self) -> bool:
        """Whether the slices are coronal or sagittal: their rows go upwards in the turned array."""
        return self.view.direction is not None and self._slices > 0
