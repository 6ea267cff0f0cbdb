"""Which sections the report has, in their order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from nnunet_mgcl.data.layout import FoldLayout
from nnunet_mgcl.evaluation.validated_run import ValidatedRun
from nnunet_mgcl.report.attention_section import attention_section
from nnunet_mgcl.report.curves_section import curves_section
from nnunet_mgcl.report.embeddings_section import embeddings_section
from nnunet_mgcl.report.metrics_section import folds_section, metrics_section
from nnunet_mgcl.report.overlays_section import overlays_section
from nnunet_mgcl.report.overview_section import overview_section
from nnunet_mgcl.report.perception_section import perception_section
from nnunet_mgcl.report.section import Section
from nnunet_mgcl.report.settings_section import settings_section
from nnunet_mgcl.report.trained_fold import TrainedFold
from nnunet_mgcl.report.tss_section import tss_section
from nnunet_mgcl.report.volume_section import volume_section

ANALYSES: tuple[Callable[[TrainedFold], Section], ...] = (
    embeddings_section,
    perception_section,
    attention_section,
)
"""The paper's analysis figures, of the first chosen fold."""


def report_sections(run: ValidatedRun, content: dict[str, Any], device: torch.device) -> list[Section]:
    """All sections of the report.

    Args:
        run: The evaluated folds.
        content: Of their `evaluation.json`.
        device: Where the networks of the analysis figures run.
    """
    return [
        overview_section(run, content),
        metrics_section(content),
        volume_section(content),
        overlays_section(run, content),
        tss_section(run, content),
        folds_section(content),
        curves_section(run),
        *_analyses(run, device),
        settings_section(run, content),
    ]


def _analyses(run: ValidatedRun, device: torch.device) -> list[Section]:
    """What is inside the networks of the first chosen fold, or why nobody can look."""
    fold = run.folds[0]
    if why := _why_not(run, fold):
        return [Section("Inside the network", (f"There are no analysis figures: {why}.",))]
    trained = TrainedFold(run, fold, device)
    return [analysis(trained) for analysis in ANALYSES]


def _why_not(run: ValidatedRun, fold: int) -> str | None:
    layout = FoldLayout(run.model / f"fold_{fold}")
    identifier = run.plans.get_configuration(run.configuration).data_identifier
    if not layout.phases.is_dir():
        return f"fold {fold} was not trained by a trainer of this plugin, so it has no phases and no head"
    if not (layout.root / "checkpoint_final.pth").is_file():
        return f"fold {fold} has no checkpoint_final.pth"
    if not (run.layout.preprocessed / identifier).is_dir():
        return f"{identifier}, nnU-Net's folder of the preprocessed cases, is not there"
    return None
