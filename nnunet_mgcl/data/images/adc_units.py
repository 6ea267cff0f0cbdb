"""Brings apparent diffusion coefficients (ADC) to one unit, 10^-6 mm^2/s."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from nnunet_mgcl.system.errors import UserError

UNITS = {"mm2/s": ("mm^2/s", 1e6), "1e-3": ("10^-3 mm^2/s", 1e3), "1e-6": ("10^-6 mm^2/s", 1.0)}
"""Unit, as `--adc-unit` spells it -> its name, and the factor to 10^-6 mm^2/s."""

_TISSUE = (200.0, 4000.0)
"""From the core of an infarct to free water with some noise, in 10^-6 mm^2/s; less than a factor of 1000 apart."""

_BRAIN = (600.0, 2000.0)
"""Where the median over a head lies, from all tissue to much fluid, in 10^-6 mm^2/s."""

_LEAST_SHARE = 0.25
"""Of the voxels that are no air, those that must look like tissue. What remains is noise around the head."""

_LEAST_TOLD = 0.05
"""The same where the unit is told: too little to tell it, and enough not to contradict it."""


def fitting_units(values: np.ndarray) -> list[str]:
    """The keys of `UNITS` that the values `(Z, Y, X)` of a map fit: one where all is well.

    What fills the edges of the planes is left out as air, unless there is no other tissue.
    """
    return _fitting(_tissue_shares(_unfilled(values))) or _fitting(_tissue_shares(values))


def to_common_unit(image: sitk.Image, unit: str) -> tuple[sitk.Image, str]:
    """Brings an ADC map to 10^-6 mm^2/s.

    Args:
        image: The map, in one of `UNITS`.
        unit: A key of `UNITS`, or `auto`: told by the values.

    Returns:
        The map, float32, and what was done, such as `10^-3 mm^2/s, x 1000`.

    Raises:
        UserError: The values tell no unit, or contradict the one that is told: an error of a thousand, no matter of
            taste. It does not know the file: the caller adds it.
    """
    told, values = unit != "auto", sitk.GetArrayViewFromImage(image)
    if told:
        _check(values, unit)
    else:
        unit = _detect(values)
    name, factor = UNITS[unit]
    scaled = sitk.Cast(image, sitk.sitkFloat32)
    return (scaled * factor if factor != 1 else scaled), f"{name}, x {factor:g}{' as told' if told else ''}"


def _check(values: np.ndarray, unit: str) -> None:
    """Refuses values that fit another unit only, or of which hardly any is one of tissue."""
    fitting = fitting_units(values)
    if unit in fitting or (not fitting and _tissue_shares(_unfilled(values))[unit][0] > _LEAST_TOLD):
        return
    found, remedy = "hardly a value that tissue has in it", "mend the file"
    if fitting:
        found = f"values that look like {UNITS[fitting[0]][0]}"
        remedy = (
            f"tell this case's unit in a manifest: column adc_unit, {fitting[0]} (or auto), or leave --adc-unit out; "
            "or mend the file"
        )
    raise UserError("the ADC map", found, f"{UNITS[unit][0]}, as told", remedy)


def _detect(values: np.ndarray) -> str:
    """The one unit that the values fit."""
    fitting = fitting_units(values)
    if len(fitting) == 1:
        return fitting[0]
    positive = values[values > 0]
    median = f"median {np.median(positive):.4g} where positive" if positive.size else "no positive value"
    raise UserError(
        "the ADC map",
        f"values that fit {' and '.join(UNITS[unit][0] for unit in fitting) or 'no unit'} ({median})",
        "a brain's median, about 0.001 in mm^2/s, 1 in 10^-3 mm^2/s or 1000 in 10^-6 mm^2/s",
        f"tell this case's unit in a manifest: column adc_unit, {' | '.join(UNITS)} (--adc-unit is for all cases); "
        "with another unit, or where this is no ADC map, mend the file",
    )


def _fitting(shares: dict[str, tuple[float, float]]) -> list[str]:
    """The units in which enough voxels are tissue and these have the median of a brain."""
    return [u for u, (share, median) in shares.items() if share > _LEAST_SHARE and _BRAIN[0] <= median <= _BRAIN[1]]


def _tissue_shares(values: np.ndarray) -> dict[str, tuple[float, float]]:
    """Unit -> share of the voxels that are tissue if the values are in it, and the median of these in 10^-6 mm^2/s.

    What is not positive or fainter than any tissue is air and has no say, nor have outliers: the units lie a factor of
    1000 apart.
    """
    inside = values[values > 0].astype(np.float64)
    bright = {unit: inside[inside * factor > _TISSUE[0]] * factor for unit, (_, factor) in UNITS.items()}
    tissue = {unit: values[values < _TISSUE[1]] for unit, values in bright.items()}
    alike = sum(found.size for found in tissue.values())
    return {
        unit: (found.size / max(alike, bright[unit].size), float(np.median(found))) if found.size else (0.0, 0.0)
        for unit, found in tissue.items()
    }


def _unfilled(values: np.ndarray) -> np.ndarray:
    """The values without the most frequent one at the edges of the planes, `values` being `(Z, Y, X)`."""
    edges = np.concatenate([values[:, [0, -1]].ravel(), values[..., [0, -1]].ravel()])
    levels, counts = np.unique(edges, return_counts=True)
    return values[values != levels[counts.argmax()]]
