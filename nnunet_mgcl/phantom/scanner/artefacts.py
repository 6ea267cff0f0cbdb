"""What a scanner adds to the signal: coils, susceptibility, motion and noise. Images are `(Z, Y, X)`.

All numbers here are chosen so that pictures look like clinical ones; none is measured.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nnunet_mgcl.phantom.brain.scan import Grid
from nnunet_mgcl.phantom.scanner.physics import FloatArray

# Real, and complex once phases matter.
Signal = npt.NDArray[np.inexact[Any]]

COILS = 8
COIL_RING_MM = 135.0
# Reach of a coil, and how much of the unevenness the scanner's own correction leaves.
COIL_REACH_MM = 110.0
BIAS_LEFT = 0.5
# Where air in bone spoils the field, in the template's mm (x, y, z), with standard deviations in mm: above the frontal
# and sphenoid sinuses, and above both petrous bones.
AIR = (
    ((0.0, 36.0, -26.0), (16.0, 12.0, 9.0)),
    ((48.0, -26.0, -32.0), (10.0, 13.0, 7.0)),
    ((-48.0, -26.0, -32.0), (10.0, 13.0, 7.0)),
)
SHOTS = 16


def coil_bias(grid: Grid, rng: np.random.Generator) -> FloatArray:
    """Smooth unevenness of an array of coils around the head, root of the sum of squares, 1 on average."""
    angles = 2 * np.pi * (np.arange(COILS) + rng.uniform(-0.3, 0.3, COILS)) / COILS
    centres = np.stack([rng.normal(20.0, 40.0, COILS), COIL_RING_MM * np.sin(angles), COIL_RING_MM * np.cos(angles)])
    gains = rng.lognormal(0.0, 0.2, COILS)
    # A Gaussian separates into the axes; squared, as the sum of squares needs it.
    z, y, x = (
        np.exp(-(((axis[None] - centre[:, None]) / COIL_REACH_MM) ** 2))
        for axis, centre in zip(grid.axes(), centres, strict=True)
    )
    squares = np.einsum("c,cz,cy,cx->zyx", gains**2, z, y, x, optimize=True)
    bias = squares ** (0.5 * BIAS_LEFT)
    return (bias / bias.mean()).astype(np.float32)


def susceptibility_loss(template_mm: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Share of an echo-planar signal that is left near air, `(Z, Y, X)` from the template's mm `(3, Z, Y, X)`."""
    strength = np.zeros(template_mm.shape[1:], dtype=np.float32)
    for centre, width in AIR:
        distance = sum(((mm - c) / w) ** 2 for mm, c, w in zip(template_mm, centre, width, strict=True))
        strength += rng.lognormal(np.log(2.0), 0.4) * np.exp(-0.5 * distance)
    return np.exp(-strength)


def interleaved_motion(grid: Grid, rng: np.random.Generator) -> FloatArray:
    """Phase errors in radians of the k-space lines `(Z, Y)` of a sequence of several shots whose patient moves.

    Each shot takes every sixteenth line at its own position; a shift along y turns the phase of a line in
    proportion to its frequency. The slices' shots are taken in turns, so all slices see the same walk.
    """
    lines = grid.shape[1]
    walk = np.cumsum(rng.normal(0.0, rng.uniform(0.15, 0.5), SHOTS))
    shift_mm = (walk - walk.mean())[np.arange(lines) % SHOTS]
    cycles_per_mm = np.fft.fftfreq(lines, grid.spacing[1])
    # Beyond half a cycle per 2 mm there is little signal to displace, whatever the matrix.
    phase = 2 * np.pi * cycles_per_mm * shift_mm * (np.abs(cycles_per_mm) < 0.3)
    return np.broadcast_to(phase, grid.shape[:2]).astype(np.float32)


def echo_ghost(grid: Grid, rng: np.random.Generator) -> FloatArray:
    """Phase errors in radians of the k-space lines `(Z, Y)` of an echo-planar image: every other line is off."""
    alternating = np.where(np.arange(grid.shape[1]) % 2, 1.0, -1.0)
    slices = rng.normal(0.0, rng.uniform(0.03, 0.10), grid.shape[0])
    return (slices[:, None] * alternating).astype(np.float32)


def with_phase_errors(image: Signal, phase: FloatArray) -> Signal:
    """The complex image `(Z, Y, X)` whose k-space lines along y were turned by `phase` `(Z, Y)`."""
    lines = np.fft.fft(image, axis=1) * np.exp(1j * phase)[:, :, None]
    return np.fft.ifft(lines, axis=1).astype(np.complex64)


def with_dropouts(image: Signal, rng: np.random.Generator) -> Signal:
    """The diffusion image with a few slices darkened: the patient moved while they were encoded."""
    moved = rng.random(image.shape[0]) < 0.15
    return image * np.where(moved, rng.uniform(0.6, 0.9, image.shape[0]), 1.0).astype(np.float32)[:, None, None]


def rician(image: Signal, sigma: float, rng: np.random.Generator) -> FloatArray:
    """The magnitude of a signal (real or complex) with complex Gaussian noise: never negative, also in air."""
    real = image.real + np.float32(sigma) * rng.standard_normal(image.shape, dtype=np.float32)
    imaginary = image.imag + np.float32(sigma) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.hypot(real, imaginary)
