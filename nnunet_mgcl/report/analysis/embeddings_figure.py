"""Fig. 8 and 9: clouds of samples before and after a phase, laid out by t-SNE."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.manifold import TSNE

from nnunet_mgcl.report.analysis.embeddings import Cloud
from nnunet_mgcl.report.page.style import GREY, NEGATIVE, POSITIVE, WIDTH, figure_style

FEWEST = 10
"""Samples below which t-SNE shows nothing."""
PERPLEXITY, SEED = 30.0, 12345
_SIDE = 2.3  # inches of a panel
_WITHOUT: dict[str, Any] = {"c": "none", "edgecolors": NEGATIVE, "marker": "o", "s": 9, "linewidths": 0.6}
_WITH: dict[str, Any] = {"c": POSITIVE, "edgecolors": "white", "marker": "^", "s": 20, "linewidths": 0.3}


def draw_clouds(clouds: Mapping[str, Cloud], heading: Callable[[str, str], str], unit: str) -> Figure:
    """Draws a column a branch and a row a stage of training.

    Args:
        clouds: The samples by branch.
        heading: What stands above the panel of a branch and stage.
        unit: What the samples are, e.g. `slices`.
    """
    stages = list(next(iter(clouds.values())).representations)
    with figure_style():
        size = (max(3.6, min(WIDTH, 0.4 + _SIDE * len(clouds))), 0.5 + (_SIDE + 0.2) * len(stages))
        figure = Figure(figsize=size, dpi=200)  # the points are pixels, also in an SVG
        axes = figure.subplots(len(stages), len(clouds), squeeze=False)
        for column, (branch, cloud) in zip(axes.T, clouds.items(), strict=True):
            for axis, (stage, representations) in zip(column, cloud.representations.items(), strict=True):
                _draw_panel(axis, representations, cloud.lesion)
                axis.set_title(heading(branch, stage))
        for axis, stage in zip(axes[:, 0], stages, strict=True):
            axis.set_ylabel(stage)
        handles = [axes[0, 0].scatter([], [], label=f"{unit} with lesion", **_WITH)]
        handles.append(axes[0, 0].scatter([], [], label=f"{unit} without lesion", **_WITHOUT))
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def lay_out(representations: np.ndarray) -> np.ndarray:
    """t-SNE of `(n, C)` to `(n, 2)`, by angle, from the first two principal components."""
    perplexity = min(PERPLEXITY, (len(representations) - 1) / 3)
    return TSNE(perplexity=perplexity, metric="cosine", init="pca", random_state=SEED).fit_transform(representations)


def _draw_panel(axis: Axes, representations: np.ndarray, lesion: np.ndarray) -> None:
    axis.set(xticks=[], yticks=[], box_aspect=1)
    axis.spines[:].set(visible=True, color=GREY, linewidth=0.5)
    if len(representations) < FEWEST:
        reason = f"too few samples\nto draw ({len(representations)})"
    elif np.ptp(representations, axis=0).max() == 0:
        reason = "all samples are\nrepresented alike"
    else:
        points = lay_out(representations)
        axis.scatter(*points[~lesion].T, rasterized=True, **_WITHOUT)
        axis.scatter(*points[lesion].T, rasterized=True, **_WITH)  # rare, so on top
        return
    axis.text(0.5, 0.5, reason, ha="center", va="center", transform=axis.transAxes)
