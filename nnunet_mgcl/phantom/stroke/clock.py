"""The tissue clock: how hours since onset turn into what MR shows of a stroke, differently in every patient.

Four mechanisms, each with a rate of the patient's own:

- water enters the core and T2 rises (FLAIR shows it late): `t2_rise` saturates exponentially;
- diffusion falls within minutes, falls on slowly for hours and pseudo-normalises over days: `adc_ratio`;
- the core grows into the deficit, slowly where collaterals feed it: `core_fraction`;
- a reader calls the FLAIR lesion visible above a threshold that is not the same in all readings.

A poor collateral supply speeds the first three, so they agree a little; mostly they are independent, which is
what makes several modalities better than one. The constants are in `Clockwork`, those that were solved for in
`CALIBRATED`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import beta

from nnunet_mgcl.data.tss_table import TSS_WINDOW_HOURS
from nnunet_mgcl.phantom.scanner import physics
from nnunet_mgcl.phantom.scanner.physics import GREY, WHITE, FloatArray, Number, Tissue

EARLIEST_HOURS, LATEST_HOURS = 0.5, 24.0
# Table 1 of the paper: 209 of 327 patients below 4.5 h, 7.26 h on average.
EARLY_SHARE = 0.64
# Beta distributions over [0.5, 4.5) and [4.5, 24] h; chosen so that the mean is 0.64 x 2.9 + 0.36 x 15.1 = 7.3 h.
EARLY_SHAPE, LATE_SHAPE = (2.2, 1.5), (1.2, 1.0)

# The mismatch ratio (deficit over core) from which on a penumbra is said to be there: the target mismatch of DEFUSE 3
# (Albers et al., N Engl J Med 2018;378:708).
PENUMBRA_RATIO = 1.8

# Independent standard normal variates that make a patient, in this order.
VARIATES = ("collaterals", "t2_amplitude", "t2_rate", "adc_depth", "adc_rate", "core_first", "core_growth", "reader")


@dataclass(frozen=True, kw_only=True)
class Clockwork:
    """Constants of the clock; spreads are standard deviations of logarithms between patients.

    Attributes:
        t2_slope: Initial T2 rise of the median patient's core in ms/h (Damion et al., Phys Med Biol 2019;64:095016).
        t2_limit: T2 rise in ms where it would end without the slow changes of the later days; chosen.
        t2_limit_spread: Of it; chosen.
        t2_spread: Of the initial slope. CALIBRATED.
        visible_ratio: FLAIR signal ratio of lesion to normal that the median reader sees. CALIBRATED.
        reader_spread: Of (visible_ratio - 1) between readings; chosen, for moderate agreement of readers.
        adc_first: Fall of the ADC, as a share of normal, in the first minutes; chosen for a ratio of 0.7.
        adc_later: Its further slow fall; chosen for a ratio of 0.55 if nothing normalised.
        adc_minutes: Time constant of the fast fall in minutes; chosen.
        adc_hours: Time constant of the slow fall in hours, median; chosen.
        adc_hours_spread: Of it; chosen.
        adc_spread: Of the depth of both falls. CALIBRATED.
        adc_days: Time constant of pseudo-normalisation in days; chosen so that it ends in the second week
            (Lansberg et al., Am J Neuroradiol 2001;22:637).
        core_first: Core share of the deficit right after onset, median; chosen.
        core_first_spread: Of it; chosen.
        core_hours: Time constant of core growth in hours, median. CALIBRATED.
        core_spread: Of it: slow and fast progressors. CALIBRATED.
        collateral_weight: Correlation of T2 rate, ADC depth and core growth with the collateral supply; chosen.
    """

    t2_slope: float = 1.94
    t2_limit: float = 45.0
    t2_limit_spread: float = 0.3
    t2_spread: float
    visible_ratio: float
    reader_spread: float = 0.25
    adc_first: float = 0.30
    adc_later: float = 0.15
    adc_minutes: float = 10.0
    adc_hours: float = 6.0
    adc_hours_spread: float = 0.5
    adc_spread: float
    adc_days: float = 10.0
    core_first: float = 0.15
    core_first_spread: float = 0.5
    core_hours: float
    core_spread: float
    collateral_weight: float = 0.4


# What tests/unit/phantom/stroke/test_clock.py solves for, with the target of each:
CALIBRATED = {
    "t2_spread": 1.505,  # specificity 0.76 of "DWI lesion visible, FLAIR lesion not" for less than 4.5 h
    "visible_ratio": 1.123,  # its sensitivity 0.63
    "core_spread": 0.933,  # AUROC 0.87 of core_fraction alone (chosen, so that all signs together reach about 0.89)
    "core_hours": 7.94,  # 80 % of the patients below 3 h have a penumbra
    "adc_spread": 0.137,  # AUROC 0.73 of the ADC ratio alone (chosen: a poorer clock than FLAIR)
}
CLOCKWORK = Clockwork(**CALIBRATED)


@dataclass(frozen=True)
class TissueClock:
    """The state of a patient's stroke at the time of the scan.

    Attributes:
        hours: Time since onset.
        t2_rise: How much longer T2 is at the core's centre than in normal tissue, in ms.
        adc_ratio: ADC of the core over that of normal tissue.
        core_fraction: Volume of the core over that of the perfusion deficit, in (0, 1].
        visible_ratio: The FLAIR signal ratio from which on this reading calls the lesion visible.
    """

    hours: float
    t2_rise: float
    adc_ratio: float
    core_fraction: float
    visible_ratio: float

    @property
    def flair_ratio(self) -> float:
        """FLAIR signal at the core's centre over that of normal tissue."""
        return float(flair_ratio(self.t2_rise))

    @property
    def flair_visible(self) -> bool:
        """Whether the reader sees the lesion in FLAIR."""
        return self.flair_ratio > self.visible_ratio

    @property
    def dwi_ratio(self) -> float:
        """DWI signal at the core's centre over that of normal tissue: restricted diffusion and T2 shine-through."""
        return float(dwi_ratio(self.t2_rise, self.adc_ratio))

    @property
    def penumbra(self) -> bool:
        """Whether tissue is left to save: deficit over core is at least `PENUMBRA_RATIO`."""
        return 1.0 / self.core_fraction >= PENUMBRA_RATIO


def flair_ratio(t2_rise: Number) -> FloatArray:
    """FLAIR signal of tissue whose T2 rose by `t2_rise` ms over the signal before, grey and white in equal parts."""
    return _ratio(physics.flair_signal, t2_rise)


def dwi_ratio(t2_rise: Number, adc_ratio: Number) -> FloatArray:
    """The same for DWI (b = 1000 s/mm^2) with an ADC that is `adc_ratio` times the normal one."""
    return _ratio(lambda tissue: physics.diffusion_signal(tissue, physics.DWI_B), t2_rise, adc_ratio)


def injured(tissue: Tissue, t2_rise: Number, adc_ratio: Number) -> Tissue:
    """What ischaemia makes of a tissue. T1 and density stay as they are."""
    return replace(tissue, t2=tissue.t2 + t2_rise, adc=tissue.adc * adc_ratio)


def _ratio(signal: Callable[[Tissue], FloatArray], t2_rise: Number, adc_ratio: Number = 1.0) -> FloatArray:
    lesion = signal(injured(GREY, t2_rise, adc_ratio)) + signal(injured(WHITE, t2_rise, adc_ratio))
    return lesion / (signal(GREY) + signal(WHITE))


def draw_hours(count: int, rng: np.random.Generator) -> list[float]:
    """Draws times since onset: 64 % (rounded) in [0.5, 4.5) h, the others up to 24 h, in random order.

    Each class is drawn evenly over its distribution, so that few cases have the same mean as many.
    """
    early = round(EARLY_SHARE * count)
    within = _evenly(early, EARLIEST_HOURS, TSS_WINDOW_HOURS, EARLY_SHAPE, rng)
    beyond = _evenly(count - early, TSS_WINDOW_HOURS, LATEST_HOURS, LATE_SHAPE, rng)
    # Cut, not rounded: 4.499 must stay below the window's end.
    return rng.permutation(np.floor(np.concatenate([within, beyond]) * 100) / 100).tolist()


def _evenly(count: int, low: float, high: float, shape: tuple[float, float], rng: np.random.Generator) -> FloatArray:
    quantiles = (np.arange(count) + rng.random(count)) / max(count, 1)
    return low + (high - low) * beta.ppf(quantiles, *shape)


def draw_clock(hours: float, rng: np.random.Generator) -> TissueClock:
    """Draws a patient's tissue clock and reads it at `hours` since onset."""
    state = evolve(np.asarray(hours), rng.standard_normal(len(VARIATES)))
    return TissueClock(hours, **{name: float(value) for name, value in state.items()})


def evolve(hours: FloatArray, variates: FloatArray, clockwork: Clockwork = CLOCKWORK) -> dict[str, FloatArray]:
    """The fields of `TissueClock` but for `hours`, of one patient or of many at once.

    Args:
        hours: Time since onset, `(...)`.
        variates: Standard normal, `(8, ...)` in the order of `VARIATES`.
        clockwork: Other constants, for their calibration.
    """
    c, z = clockwork, dict(zip(VARIATES, variates, strict=True))
    poor, own = c.collateral_weight, np.sqrt(1.0 - c.collateral_weight**2)
    t2_rate, adc_depth, core_growth = (
        poor * z["collaterals"] + own * z[name] for name in ("t2_rate", "adc_depth", "core_growth")
    )
    t2_slope = c.t2_slope * np.exp(c.t2_spread * t2_rate)
    t2_limit = c.t2_limit * np.exp(c.t2_limit_spread * z["t2_amplitude"])

    adc_hours = c.adc_hours * np.exp(c.adc_hours_spread * z["adc_rate"])
    fall = c.adc_first * _risen(60.0 * hours / c.adc_minutes) + c.adc_later * _risen(hours / adc_hours)
    fall = fall * np.exp(c.adc_spread * adc_depth) * np.exp(-hours / (24.0 * c.adc_days))

    core_first = np.minimum(c.core_first * np.exp(c.core_first_spread * z["core_first"]), 0.9)
    core_hours = c.core_hours * np.exp(-c.core_spread * core_growth)
    return {
        "t2_rise": t2_limit * _risen(hours * t2_slope / t2_limit),
        "adc_ratio": 1.0 - fall,
        "core_fraction": core_first + (1.0 - core_first) * _risen(hours / core_hours),
        "visible_ratio": 1.0 + (c.visible_ratio - 1.0) * np.exp(c.reader_spread * z["reader"]),
    }


def _risen(time: FloatArray) -> FloatArray:
    """What rises from 0 to 1, after `time` time constants."""
    return 1.0 - np.exp(-time)
