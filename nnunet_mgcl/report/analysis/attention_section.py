"""How much attention the TSS head's modalities pay to each other, sub-region by sub-region, over the brain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from rich.progress import track

from nnunet_mgcl.network.mrff import MRFF
from nnunet_mgcl.network.tss_heads import FEATURES
from nnunet_mgcl.pictures.slices import draw_outline
from nnunet_mgcl.report.analysis.attention import modality_attention, region_numbers
from nnunet_mgcl.report.analysis.brain_grid import LETTERS, BrainPanel, brain_grid
from nnunet_mgcl.report.analysis.fold_case import FoldCase, choose_case, describe_choice, largest_slice
from nnunet_mgcl.report.analysis.trained_fold import TrainedFold
from nnunet_mgcl.report.page.section import Picture, Section
from nnunet_mgcl.report.page.style import WIDTH, figure_style
from nnunet_mgcl.tss.phase import encoder_chunk
from nnunet_mgcl.tss.volumes import fit_volume, load_volume

TITLE = "Attention between the modalities"
NARROWEST = 0.1
"""Of the colour scale around the even share: less is no difference to look at."""


def attention_section(fold: TrainedFold) -> Section:
    """MRFF's attention in one validation case, drawn, and its mean over all that have a TSS."""
    if reason := _why_not(fold):
        return Section(TITLE, (reason,))
    chosen, table = choose_case(fold), fold.run.tss_table
    known = [case for case in fold.cases if table is not None and table.positive(case) is not None]
    cases = known + [chosen] * (chosen not in known)
    measured = {case: _attention(fold, case) for case in track(cases, "Attention", transient=True)}
    return Section.of(
        TITLE,
        "analysis/words/attention",
        pictures=[_picture(fold, chosen, measured[chosen])],
        fold=fold,
        modalities=_modalities(fold),
        known=len(known),
        shares=np.transpose([measured[case].mean(axis=0) for case in known], (1, 2, 0)) if known else None,
    )


def _why_not(fold: TrainedFold) -> str | None:
    """Why there is no attention to show, in words; None where there is."""
    tss = fold.network.tss
    if tss is None:
        return "The model has no TSS head, so there is no attention between modalities."
    if not isinstance(tss.head, MRFF) or tss.reads != FEATURES:
        return (
            f"The TSS head of this model is {fold.config.tss.head}; only mrff attends sub-region by sub-region "
            "(mgcl head switches to it, where it was trained too)."
        )
    if not bool(tss.trained):
        return f"The TSS head of fold {fold.fold} is untrained; its attention would be that of chance."
    if tss.num_modalities == 1:
        return f"The TSS head sees {_modalities(fold)[0]} alone: there is no other modality to attend to."
    return None


def _modalities(fold: TrainedFold) -> list[str]:
    """The modalities that the head sees, in its order."""
    assert fold.config.tss.modalities is not None
    return fold.config.tss.modalities


@torch.inference_mode()
def _attention(fold: TrainedFold, case: str) -> np.ndarray:
    """`(m, M, M)` of one case, from the volume that the head reads."""
    network, folder = fold.network, str(fold.images)
    image = load_volume(infer_dataset_class(folder)(folder, [case]), case)
    volume, valid = fit_volume(image, fold.config.tss)
    features = network.tss_features(volume[None].to(fold.device), encoder_chunk(fold.run.plan))
    assert network.tss is not None and isinstance(network.tss.head, MRFF)
    tokens = network.tss.valid_tokens(valid[None].to(fold.device))
    return modality_attention(network.tss.head, features, tokens, network.tss.num_modalities)[0].cpu().numpy()


def _fitted(fold: TrainedFold, case: FoldCase) -> tuple[list[BrainPanel], np.ndarray]:
    """The slice that is shown, as the head reads it, turned for the eye.

    Returns:
        Each modality's slice `(H, W)` with its lesion; what fills it up is as dark as its darkest voxel. And the
        sub-region of each voxel, `(H, W)`.
    """
    order = [branch.name for branch in fold.branches]
    seen = [order.index(modality) for modality in _modalities(fold)]
    images = [case.images[index][0] - case.images[index][0].min() for index in seen]
    masks = [case.lesions[index].astype(np.float32) for index in seen]
    fitted, real = fit_volume(torch.from_numpy(np.stack(images + masks)), fold.config.tss)
    arrays = [case.view.turn(array) for array in fitted[:, real].numpy()]
    lesions = [(mask > 0) & (mask >= min(0.5, mask.max() / 2)) for mask in arrays[len(seen) :]]
    at = largest_slice(lesions)
    regions = case.view.turn(np.broadcast_to(_regions(fold), fitted[0, real].shape).copy())[at]
    return [BrainPanel(plane[at], lesion[at]) for plane, lesion in zip(arrays, lesions, strict=False)], regions


def _regions(fold: TrainedFold) -> np.ndarray:
    """The sub-region of each voxel `(H, W)` of what the head reads."""
    level, config = fold.network.level, fold.config.tss
    assert level is not None and config.size is not None
    levels = fold.run.plan.pool_op_kernel_sizes[: level.index + 1]
    rows, columns = np.prod(levels, axis=0)[-2:].tolist()
    height, width = config.size
    return region_numbers((height, width), (rows, columns), (level.height, level.width), config.grid)


def _picture(fold: TrainedFold, name: str, attention: np.ndarray) -> Picture:
    case, modalities = FoldCase.load(fold, name), _modalities(fold)
    panels, regions = _fitted(fold, case)
    size, even = case.view.turn_spacing(case.spacing)[1:], 1 / len(modalities)
    reach = (min(attention.min(), even - NARROWEST / 2), max(attention.max(), even + NARROWEST / 2))
    rows = {
        f"{modality} attends": [replace(p, values=own[regions]) for p, own in zip(panels, shares, strict=True)]
        for modality, shares in zip(modalities, attention.transpose(1, 2, 0), strict=True)
    }
    titles, scale = [f"to {modality}" for modality in modalities], ScalarMappable(Normalize(*reach), "viridis")
    with figure_style():
        width = min(WIDTH, 2.4 * len(modalities))
        figure, axes, bar = brain_grid(rows, titles, size, scale, case.view.sides, width=width, darkest=0.3)
        for axis, shares in zip(axes.flat, attention.reshape(len(attention), -1).T, strict=True):
            _write_shares(axis, regions, size, shares)
        bar.set_label("share of attention")
        for colour, width in (("white", 3), ("black", 1.2)):
            bar.ax.axvline(even, color=colour, linewidth=width)
        bar.ax.set_title(f"even share {even:.2f}", fontsize="small")
    words = {"attention": attention, "modalities": modalities, "case": case, "fold": fold.fold}
    words["describe_choice"] = describe_choice
    return Picture.of("attention", figure, "analysis/words/attention_map", drawing=False, **words)


def _write_shares(axis: Axes, regions: np.ndarray, size: Sequence[float], shares: np.ndarray) -> None:
    """The borders of the sub-regions, and the share `(m,)` of each in its middle."""
    for region in np.unique(regions):
        draw_outline(axis, regions == region, size, "white", linewidths=0.4, alpha=0.7)
        y, x = (np.argwhere(regions == region).mean(axis=0) + 0.5) * size
        axis.text(x, y, f"{shares[region]:.2f}", ha="center", va="center", fontsize=6, **LETTERS)
