"""Which slices of a case are drawn."""

from __future__ import annotations

import numpy as np

from nnunet_mgcl.pictures.case_panels import CasePanels
from nnunet_mgcl.pictures.slices import fullest_slice


def largest_slice(case: CasePanels) -> tuple[int, str]:
    """The slice with most reference voxels, else with most predicted ones, else the middle; and which it is."""
    for predicted, reason in ((False, "largest reference"), (True, "no reference, largest prediction")):
        if (at := fullest_slice(case.masks(predicted=predicted))) is not None:
            return at, reason
    return case.slices // 2, "no lesion, middle"


def name_slice(case: CasePanels, at: int) -> str:
    """How a slice is called; radiologists' slices are counted from below."""
    return f"slice {at + 1} of {case.slices}"


def montage_slices(case: CasePanels, most: int = 5) -> list[int]:
    """Slices evenly through the reference lesion (without one, the predicted lesion), with the largest one.

    Slices with less than a quarter of the largest one's lesion are left out: specks would take the lesion's place.
    Where places are left, slices with most prediction follow. Without any lesion: the middle half.
    """
    reference, prediction = case.lesion_share(predicted=False), case.lesion_share(predicted=True)
    lesion = reference if reference.any() else prediction
    if not lesion.any():
        there = np.arange(case.slices // 4, max(case.slices // 4 + 1, case.slices - case.slices // 4))
        return _evenly(there, most)
    chosen = set(_evenly(np.flatnonzero(lesion >= lesion.max() / 4), most))
    largest = int(lesion.argmax())
    if largest not in chosen:
        chosen.remove(min(chosen, key=lambda at: abs(at - largest)))
        chosen.add(largest)
    others = [int(at) for at in np.argsort(-prediction, kind="stable") if prediction[at] and at not in chosen]
    return sorted([*chosen, *others[: most - len(chosen)]])


def _evenly(slices: np.ndarray, most: int) -> list[int]:
    return sorted({int(slices[int(i)]) for i in np.linspace(0, len(slices) - 1, min(most, len(slices)))})
