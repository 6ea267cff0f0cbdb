"""Which sections the report has, in their order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.report.analysis import attention_section as attention
from nnunet_mgcl.report.analysis import embeddings_section as embeddings
from nnunet_mgcl.report.analysis import perception_section as perception
from nnunet_mgcl.report.analysis.trained_fold import TrainedFold
from nnunet_mgcl.report.cross_validation.curves import curves_section
from nnunet_mgcl.report.cross_validation.missing import missing_section
from nnunet_mgcl.report.cross_validation.overlays import overlays_section
from nnunet_mgcl.report.cross_validation.overview import overview_section
from nnunet_mgcl.report.cross_validation.settings import settings_section
from nnunet_mgcl.report.cross_validation.tss import tss_section
from nnunet_mgcl.report.cross_validation.volume import volume_section
from nnunet_mgcl.report.page.section import Section
from nnunet_mgcl.system.errors import UserError, reason

ANALYSES: dict[str, Callable[[TrainedFold], Section]] = {
    embeddings.TITLE: embeddings.embeddings_section,
    perception.TITLE: perception.perception_section,
    attention.TITLE: attention.attention_section,
}
"""Titles and makers of the paper's analysis figures, of the first chosen fold."""


def report_sections(run: ValidatedRun, content: dict[str, Any], device: torch.device) -> list[Section]:
    """All sections of the report; of a TSS classifier those that need no segmentation and no network of ours.

    Args:
        run: The evaluated folds.
        content: Of their `evaluation.json`.
        device: Where the networks of the analysis figures run.
    """
    if run.is_classifier:
        return [overview_section(run, content), tss_section(run, content), settings_section(run, content)]
    return [
        overview_section(run, content),
        Section.of("Segmentation", "cross_validation/segmentation/metrics", content=content),
        volume_section(content),
        overlays_section(run, content),
        tss_section(run, content),
        *_given(missing_section(run, content)),
        Section.of("Fold by fold", "cross_validation/segmentation/folds", folded=True, content=content),
        curves_section(run),
        *_analyses(run, device),
        settings_section(run, content),
    ]


def _given(section: Section | None) -> list[Section]:
    return [section] if section else []


def _analyses(run: ValidatedRun, device: torch.device) -> list[Section]:
    """What is inside the networks of the first chosen fold, or why nobody can look."""
    fold = run.folds[0]
    if why := _why_not(run, fold):
        return [Section("Inside the network", (f"There are no analysis figures: {why}.",))]
    trained = TrainedFold(run, fold, device)
    return [_analysis(title, make, trained) for title, make in ANALYSES.items()]


def _analysis(title: str, make: Callable[[TrainedFold], Section], fold: TrainedFold) -> Section:
    """One section; a file that is of no use costs this one and not the report."""
    try:
        return make(fold)
    except UserError as error:
        why = f"{error.where}: {error.found}"
    except Exception as error:  # torch, blosc2 and nnU-Net, which read the files, have errors of their own
        why = f"{type(error).__name__}: {reason(error)}"
    print(f"report: “{title}” is left out ({why})")
    for folder in (fold.run.model, fold.run.layout.preprocessed):
        why = why.replace(f"{folder.parent}/", "")  # no path of this machine on the page
    return Section(title, (f"This section could not be made for fold {fold.fold}. {why}.",))


def _why_not(run: ValidatedRun, fold: int) -> str | None:
    preprocessed = run.layout.preprocessed / run.plan.data_identifier
    if run.is_stock:
        return f"fold {fold} was not trained by a trainer of this plugin, so it has no phases and no head"
    if not (run.model / f"fold_{fold}" / "checkpoint_final.pth").is_file():
        return f"fold {fold} has no checkpoint_final.pth"
    if not preprocessed.is_dir():
        return f"{preprocessed.name}, nnU-Net's folder of the preprocessed cases, is not there"
    return None
