"""The MR physics of the phantom at 3 T: what a tissue is made of, and what a pulse sequence makes of it.

Pure functions of numbers or arrays: relaxation times in ms, proton densities relative to water, diffusion
coefficients in mm^2/s, b-values in s/mm^2, Tmax in seconds. Where a constant comes from stands beside it;
`docs/phantom.md` has the list with references.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
Number = float | FloatArray


@dataclass(frozen=True)
class Tissue:
    """What a pulse sequence sees of a tissue. Fields are numbers, or arrays that broadcast against each other.

    Attributes:
        t1: Longitudinal relaxation time in ms.
        t2: Transverse relaxation time in ms.
        density: Protons that give signal, relative to water.
        adc: Apparent diffusion coefficient in mm^2/s.
    """

    t1: Number
    t2: Number
    density: Number
    adc: Number


# T1, and white matter's T2: Wansapura et al., J Magn Reson Imaging 1999;9:531. Grey matter's T2: Stanisz et al., Magn
# Reson Med 2005;54:507. Densities and ADC: chosen near common values (ADC and contrast looked at in ISLES'22 scans).
GREY = Tissue(t1=1331.0, t2=99.0, density=0.82, adc=0.82e-3)
WHITE = Tissue(t1=832.0, t2=80.0, density=0.70, adc=0.72e-3)
# Relaxation at 3 T in the subarachnoid space: 4309 and 1886 ms (see docs/phantom.md). ADC: free water at 37 degrees.
FLUID = Tissue(t1=4300.0, t2=1900.0, density=1.0, adc=3.0e-3)
# Subcutaneous fat and muscle at 3 T: Gold et al., Am J Roentgenol 2004;183:343. Densities and ADC: chosen.
FAT = Tissue(t1=371.0, t2=133.0, density=0.9, adc=0.05e-3)
MUSCLE = Tissue(t1=1420.0, t2=32.0, density=0.75, adc=1.4e-3)
# The phantom's scalp is one layer; chosen.
FAT_OF_SCALP = 0.5
# What fat suppression leaves of fat in the echo-planar sequences; chosen.
FAT_LEFT_BY_SUPPRESSION = 0.05

# The echo-planar sequence with diffusion weighting: repetition and echo time in ms, b in s/mm^2.
DWI_TR, DWI_TE, DWI_B = 5000.0, 80.0, 1000.0
# The inversion recovery; its inversion time is the one at which CSF gives no signal.
FLAIR_TR, FLAIR_TE = 11000.0, 125.0
FLAIR_TI = float(FLUID.t1) * float(np.log(2.0 / (1.0 + np.exp(-FLAIR_TR / FLUID.t1))))


def spin_echo(tissue: Tissue, tr: float, te: float) -> FloatArray:
    """Signal of a spin echo, as a share of fully relaxed water: PD (1 - exp(-TR/T1)) exp(-TE/T2)."""
    return np.asarray(tissue.density * (1.0 - np.exp(-tr / tissue.t1)) * np.exp(-te / tissue.t2))


def diffusion_signal(tissue: Tissue, b: float) -> FloatArray:
    """Signal of the diffusion sequence at a b-value: the spin echo times exp(-b ADC)."""
    return spin_echo(tissue, DWI_TR, DWI_TE) * np.exp(-b * np.asarray(tissue.adc))


def flair_signal(tissue: Tissue) -> FloatArray:
    """Signal of FLAIR, negative where the magnetisation is still inverted at TI.

    PD (1 - 2 exp(-TI/T1) + exp(-TR/T1)) exp(-TE/T2): the sign is kept, so that tissues of one voxel cancel
    as they do in the scanner; the magnitude is taken with the noise.
    """
    recovery = 1.0 - 2.0 * np.exp(-FLAIR_TI / tissue.t1) + np.exp(-FLAIR_TR / tissue.t1)
    return np.asarray(tissue.density * recovery * np.exp(-FLAIR_TE / tissue.t2))


def adc_from_signals(s0: FloatArray, sb: FloatArray, b: float) -> FloatArray:
    """The diffusion coefficient in mm^2/s that a scanner computes from two images: ln(S0 / Sb) / b, 0 without signal.

    Noise can make it negative; scanners cut that off, and so does this.
    """
    valid = (s0 > 0) & (sb > 0)
    ratio = np.divide(s0, sb, out=np.ones_like(s0), where=valid)
    return np.maximum(np.log(ratio) / b, 0.0)


# Tmax in seconds: the deficit above 6 s, its worst part beyond 10 s (Olivot et al., Stroke 2014;45:1018). The values
# on both sides of the thresholds are chosen; normal tissue is below 3 s.
TMAX_GREY, TMAX_WHITE = 1.3, 1.9
TMAX_PENUMBRA, TMAX_CORE = 8.0, 12.0


def tmax(
    grey: FloatArray, white: FloatArray, deficit: FloatArray, core: FloatArray, oligaemia: FloatArray
) -> FloatArray:
    """Tmax in seconds of brain tissue.

    Args:
        grey: Share of a voxel.
        white: Share of a voxel.
        deficit: Share of its tissue in the perfusion deficit, core included.
        core: Share of its tissue in the core.
        oligaemia: Seconds of benign delay outside the deficit.
    """
    brain = np.maximum(grey + white, 1e-6)
    normal = (grey * TMAX_GREY + white * TMAX_WHITE) / brain + oligaemia
    core = np.minimum(core, deficit)
    return normal * (1.0 - deficit) + TMAX_PENUMBRA * (deficit - core) + TMAX_CORE * core
