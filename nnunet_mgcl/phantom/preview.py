"""One picture of a phantom: some patients, every modality, the outlines of its mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nnunet_mgcl.files import replacing
from nnunet_mgcl.phantom.dataset import PhantomOptions, training_cases
from nnunet_mgcl.phantom.signal import MODALITIES

ROWS = 4
COLOURS = {"DWI": "tab:red", "FLAIR": "tab:purple", "PWI": "tab:orange"}


def write_preview(path: Path, options: PhantomOptions) -> None:
    """Writes a PNG of up to `ROWS` training cases, youngest stroke first, in the slice with most core."""
    cases = sorted(training_cases(options), key=lambda case: case.hours)
    chosen = [cases[i] for i in np.unique(np.linspace(0, len(cases) - 1, ROWS).astype(int))]
    figure = Figure(figsize=(2.6 * len(MODALITIES), 2.7 * len(chosen)), layout="constrained")
    axes = figure.subplots(len(chosen), len(MODALITIES), squeeze=False)
    for row, case in zip(axes, chosen, strict=True):
        patient = case.draw(options)
        masks = patient.lesion.masks()
        z = int(masks["DWI"].sum(axis=(1, 2)).argmax())
        for ax, modality in zip(row, MODALITIES, strict=True):
            _show(ax, patient.images[modality][z], masks[modality][z], COLOURS[modality])
            ax.set_title(f"{modality}, {case.hours:.1f} h", fontsize=9)
    figure.suptitle("Synthetic phantom, not clinical data", fontsize=10)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _show(ax: Axes, image: np.ndarray, mask: np.ndarray, colour: str) -> None:
    ax.imshow(image, cmap="gray", vmin=0, vmax=np.percentile(image, 99.7), interpolation="nearest")
    if mask.any():
        ax.contour(mask, levels=[0.5], colors=colour, linewidths=1.0)
    ax.set_axis_off()
