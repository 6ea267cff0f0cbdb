"""Which sections the report has, in their order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from nnunet_mgcl.data.layout import FoldLayout
from nnunet_mgcl.evaluation.validated_run import ValidatedRun
from nnunet_mgcl.report.curves_section import curves_section
from nnunet_mgcl.report.metrics_section import folds_section, metrics_section
from nnunet_mgcl.report.overview_section import overview_section
from nnunet_mgcl.report.section import Section
from nnunet_mgcl.report.settings_section import settings_section
from nnunet_mgcl.report.trained_fold import TrainedFold
from nnunet_mgcl.report.tss_section import tss_section
from nnunet_mgcl.report.volume_section import volume_section

ANALYSES: tuple[Callable[[TrainedFold], Section], ...] = ()
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
        tss_section(run, content),
        folds_section(content),
        curves_section(run),
        *_analyses(run, device),
        settings_section(run, content),
    ]


def case_sections(
    run: ValidatedRun, content: dict[str, Any], case: str, images: Path | None, predictions: Path | None
) -> list[Section]:
    """All sections of one patient's page.

    Args:
        run: The evaluated folds.
        content: Of their `evaluation.json`.
        case: The patient's case.
        images: Folder of the images of a new patient; None: a validated case.
        predictions: What `mgcl predict` wrote for them.
    """
    raise NotImplementedError


def _analyses(run: ValidatedRun, device: torch.device) -> list[Section]:
    fold = run.folds[0]
    if not FoldLayout(run.model / f"fold_{fold}").phases.is_dir():
        why = (
            f"Fold {fold} was not trained by a trainer of this plugin, so there are no phases and no head to look into."
        )
        return [Section("Inside the network", (why,))]
    trained = TrainedFold(run, fold, device)
    return [analysis(trained) for analysis in ANALYSES]
