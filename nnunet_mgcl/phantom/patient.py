"""One synthetic patient: head, stroke and images from one seed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnunet_mgcl.data.bit_mask import encode
from nnunet_mgcl.phantom.anatomy import Grid, draw_anatomy
from nnunet_mgcl.phantom.lesion import Lesion, draw_lesion
from nnunet_mgcl.phantom.signal import MODALITIES, draw_image


@dataclass(frozen=True)
class Patient:
    """A synthetic patient.

    Attributes:
        lesion: The stroke.
        images: One int16 image `(Z, Y, X)` a modality that was drawn.
    """

    lesion: Lesion
    images: dict[str, npt.NDArray[np.int16]]

    @property
    def label_map(self) -> npt.NDArray[np.uint8]:
        """The modalities' masks as one bit mask `(Z, Y, X)`: DWI = 1, FLAIR = 2, PWI = 4."""
        return encode(self.lesion.masks(), MODALITIES)


def draw_patient(grid: Grid, hours: float, rng: np.random.Generator, modalities: Iterable[str] = MODALITIES) -> Patient:
    """Draws a patient whose stroke is `hours` old."""
    anatomy = draw_anatomy(grid, rng)
    lesion = draw_lesion(grid, anatomy, hours, rng)
    return Patient(lesion, {m: draw_image(m, grid, anatomy, lesion, rng) for m in modalities})
