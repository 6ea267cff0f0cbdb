"""Perfusion-diffusion mismatch: two volumes, and the rules by which trials have chosen their patients.

Every rule asks for a small core and a hypoperfused volume that exceeds it by factor and by difference. Factors are
tested as products, so that they hold for a core of 0 ml too, which has no ratio.
"""

from __future__ import annotations

from dataclasses import dataclass

TMAX_SECONDS = 6.0
"""Tissue beyond it is hypoperfused, in both trials."""
CORE_ADC = 620.0
"""10^-6 mm^2/s: below it tissue is core in DEFUSE 3 (Albers et al., N Engl J Med 2018;378:708)."""
_ROUNDING = 6
"""Decimals of a volume in ml at which a rule is tested: 1.8 times 10 ml is not less than 18 ml."""


@dataclass(frozen=True)
class PerfusionMismatch:
    """Both volumes of a patient in ml.

    Attributes:
        core_ml: The ischaemic core, from DWI.
        hypoperfused_ml: Core and penumbra together, from perfusion.
    """

    core_ml: float
    hypoperfused_ml: float

    @property
    def difference_ml(self) -> float:
        """The penumbra; negative where the core is larger."""
        return self.hypoperfused_ml - self.core_ml

    @property
    def ratio(self) -> float | None:
        """Hypoperfused volume over core; None without a core."""
        return self.hypoperfused_ml / self.core_ml if self.core_ml > 0 else None

    def excess_ml(self, factor: float) -> float:
        """How far the hypoperfused volume exceeds so many times the core."""
        return round(self.hypoperfused_ml - factor * self.core_ml, _ROUNDING)

    @property
    def small_core(self) -> bool:
        """Less than 70 ml, which both trials demand."""
        return round(self.core_ml, _ROUNDING) < 70


def extend(volumes: PerfusionMismatch) -> bool:
    """EXTEND: ratio > 1.2, difference > 10 ml, core < 70 ml (Ma et al., N Engl J Med 2019;380:1795)."""
    return volumes.small_core and volumes.excess_ml(1.2) > 0 and volumes.excess_ml(1) > 10


def defuse3(volumes: PerfusionMismatch) -> bool:
    """DEFUSE 3: ratio >= 1.8, penumbra >= 15 ml, core < 70 ml (Albers et al., N Engl J Med 2018;378:708)."""
    return volumes.small_core and volumes.excess_ml(1.8) >= 0 and volumes.excess_ml(1) >= 15
