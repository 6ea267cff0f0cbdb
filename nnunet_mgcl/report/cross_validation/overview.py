"""What was evaluated, and the few numbers that matter most."""

from __future__ import annotations

from typing import Any

from nnunet_mgcl.data.layout import FoldLayout
from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.evaluation.tables.evaluation import reasons
from nnunet_mgcl.plan.dataset_json import channel_names
from nnunet_mgcl.report.page.section import Section
from nnunet_mgcl.report.training_warnings import training_warnings


def overview_section(run: ValidatedRun, content: dict[str, Any]) -> Section:
    """Dataset, model, cases and the headline numbers, and why some of them are missing."""
    folds = {fold: training_warnings(FoldLayout(run.model / f"fold_{fold}")) for fold in run.folds}
    return Section.of(
        "Overview",
        "cross_validation/segmentation/overview",
        run=run,
        content=content,
        warnings=[(fold, warning) for fold, warnings in folds.items() for warning in warnings],
        notes=reasons(content),
        patients=len({case["patient"] for case in content["cases"]}),
        modalities=_modalities(run),
    )


def _modalities(run: ValidatedRun) -> list[str]:
    """Each modality with its channels."""
    names = channel_names(run.dataset_json)
    channels = {name: ", ".join(names[channel] for channel in of) for name, of in run.modalities.items()}
    return [name if name == of else f"{name} ({of})" for name, of in channels.items()]
