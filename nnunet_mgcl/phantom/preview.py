"""One picture of a phantom, as the paper's Fig. 1: an early and a late stroke in every modality, outlined."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from nnunet_mgcl.data.tss_table import binarise
from nnunet_mgcl.phantom.brain.scan import Grid
from nnunet_mgcl.phantom.cases import Case, training_cases
from nnunet_mgcl.phantom.options import PhantomOptions
from nnunet_mgcl.phantom.patient import draw_case_clock, draw_patient
from nnunet_mgcl.phantom.scanner.acquisition import CHANNELS, MODALITIES, draw_images
from nnunet_mgcl.phantom.scanner.scene import draw_masks
from nnunet_mgcl.phantom.stroke.lesion_masks import LesionMasks
from nnunet_mgcl.pictures.slices import draw_outline, draw_slice, fullest_slice, name_sides
from nnunet_mgcl.system.files import replacing

COLOURS = {"DWI": "#d62728", "FLAIR": "#9467bd", "PWI": "white"}
"""The paper's, red and purple, but for its orange, which the colours of the Tmax map swallow."""

DWI_OUTLINE = "#00e5ff"
TMAX_SECONDS = 15.0


def write_preview(path: Path, options: PhantomOptions, masks: LesionMasks | None = None) -> None:
    """Writes a PNG of an early and a late training case, in the slice with most core.

    Early is the case below 4.5 h with the largest perfusion mismatch among those whose lesion FLAIR does not show;
    late the one beyond with the smallest among those whose lesion it does. The textbook's patients, not typical ones.
    """
    chosen = typical_cases(options)
    figure = Figure(figsize=(3.0 * len(MODALITIES), 3.3 * len(chosen)), layout="constrained")
    axes = figure.subplots(len(chosen), len(MODALITIES), squeeze=False)
    for row, case in zip(axes, chosen, strict=True):
        scene = draw_patient(case, options, masks).scene(Grid.covering(options.matrix, options.slices))
        outlines = draw_masks(scene)
        z = fullest_slice([outlines["DWI"]]) or 0
        for ax, modality in zip(row, MODALITIES, strict=True):
            channel = CHANNELS[modality][0]
            image = draw_images(modality, scene, case.rng(options, modality))[channel][z]
            _show(ax, channel, image)
            if modality != "DWI":
                draw_outline(ax, outlines["DWI"][z], (1, 1), DWI_OUTLINE, linestyles="dotted", linewidths=1.8)
            draw_outline(ax, outlines[modality][z], (1, 1), COLOURS[modality], linewidths=1.3)
            ax.set_title(f"{channel}, {case.hours:.1f} h after onset", fontsize=10)
            name_sides(ax, ("R", "L"))  # voxels run from the patient's right to the left, as radiologists look
            ax.set_axis_off()
    legend = "Solid: the modality's own mask (PWI's: white); dotted, cyan: DWI's"
    figure.suptitle(f"Synthetic phantom, not clinical data. {legend}", fontsize=10)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def typical_cases(options: PhantomOptions) -> list[Case]:
    """An early case with both mismatches and a late one without, as far as there are such among the training cases."""
    clocks = {case: draw_case_clock(case, options) for case in training_cases(options)}
    chosen = []
    for early in (True, False):
        side = [case for case in clocks if binarise(case.hours) == early]
        textbook = [case for case in side if clocks[case].flair_visible != early]
        ordered = sorted(textbook or side, key=lambda case: clocks[case].core_fraction)
        chosen += ordered[:1] if early else ordered[-1:]
    return chosen


def _show(ax: Axes, channel: str, image: np.ndarray) -> None:
    if channel == "Tmax":
        _colour_bar(ax, draw_slice(ax, image, (1, 1), vmin=0, vmax=TMAX_SECONDS, cmap="inferno"))
    else:
        draw_slice(ax, image, (1, 1), vmin=0, vmax=np.percentile(image, 99.7))


def _colour_bar(ax: Axes, shown: AxesImage) -> None:
    """A bar inside the picture, below the head, so that all pictures keep one size."""
    beside = ax.inset_axes((0.3, 0.045, 0.4, 0.02))
    bar = ax.figure.colorbar(shown, cax=beside, orientation="horizontal", ticks=[0, TMAX_SECONDS])
    bar.ax.tick_params(colors="white", labelsize=7, length=0, pad=1)
    bar.outline.set_edgecolor("white")
    beside.set_ylabel("Tmax (s)", color="white", fontsize=7, rotation=0, ha="right", va="center", labelpad=5)
