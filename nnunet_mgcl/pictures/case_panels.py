"""What is drawn of a case: its images with the masks that are outlined on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnunet_mgcl.pictures.grey_window import tissue
from nnunet_mgcl.pictures.slices import profile

MARGIN_MM = 8.0
"""Around the head; what is beyond is not shown."""


@dataclass(frozen=True)
class Panel:
    """One image of a case.

    Attributes:
        title: What is shown.
        image: `(Z, Y, X)`.
        references: `(Z, Y, X)` bool, one a target; none where no reference is known.
        predictions: `(Z, Y, X)` bool, one a target.
        targets: Their names, where there are several.
    """

    title: str
    image: np.ndarray
    references: Sequence[np.ndarray]
    predictions: Sequence[np.ndarray]
    targets: Sequence[str] = ()


@dataclass(frozen=True)
class CasePanels:
    """What is drawn of one case.

    Attributes:
        title: Its name, and what there is to say about it.
        panels: Its images, on one grid.
        spacing: Of a voxel, `(z, y, x)` in mm.
        sides: What is left and right in a slice (`AnatomicalView.sides`); None where it is not known.
    """

    title: str
    panels: Sequence[Panel]
    spacing: tuple[float, ...]
    sides: tuple[str, str] | None

    @property
    def slices(self) -> int:
        """How many there are."""
        return len(self.panels[0].image)

    def masks(self, *, predicted: bool) -> list[np.ndarray]:
        """The references, or the predictions, of all panels."""
        return [mask for panel in self.panels for mask in (panel.predictions if predicted else panel.references)]

    def lesion_share(self, *, predicted: bool) -> np.ndarray:
        """The share of each panel's lesion that lies in each slice, summed over the panels: small lesions count too."""
        shares = np.zeros(self.slices)
        for panel in self.panels:
            voxels = sum(profile(mask, 0) for mask in (panel.predictions if predicted else panel.references))
            shares += voxels / max(np.sum(voxels), 1)
        return shares

    def frame(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The part of the rows and of the columns that is shown, in mm from the first voxel's edge: head and lesions.

        Pictures of unknown sides may show anything; they are shown whole.
        """
        return self._extent(1), self._extent(2)

    def _extent(self, axis: int) -> tuple[float, float]:
        size, voxels = self.spacing[axis], self.panels[0].image.shape[axis]
        if self.sides is None:
            return 0.0, voxels * size
        shown = np.zeros(voxels, bool)
        for panel in self.panels:
            head = profile(tissue(panel.image), axis)
            shown |= head > 0.1 * head.max()
            for mask in (*panel.references, *panel.predictions):
                shown |= profile(mask, axis) > 0
        where = np.flatnonzero(shown) if shown.any() else np.arange(voxels)
        return max(where[0] * size - MARGIN_MM, 0.0), min((where[-1] + 1) * size + MARGIN_MM, voxels * size)
