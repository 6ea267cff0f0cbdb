"""What it costs to lack a modality: one trained model, predicted without each (the paper's Table 6)."""

from __future__ import annotations

from typing import Any

from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.evaluation.runs.stored_evaluation import stored_evaluation
from nnunet_mgcl.evaluation.tables.format import number
from nnunet_mgcl.report.page.section import Section, Table


def missing_section(run: ValidatedRun, content: dict[str, Any]) -> Section | None:
    """The current results of `mgcl evaluate --missing` beside those of the whole cases; None where there are none."""
    others = []
    for path in sorted(run.model.glob("evaluation_without_*.json")):
        other, outdated = stored_evaluation(path)
        if other and not outdated and other["folds"] == content["folds"]:
            others.append(other)
    if not others:
        return None
    targets = list(content["segmentation"])
    columns = ("without", *(f"Dice {target}" for target in targets), "TSS AUROC")
    rows = [_row(each, targets) for each in (content, *others)]
    text = (
        "The validation cases were predicted once more by their fold's model, without the images of a modality, whose "
        "own lesion is not segmented then. In brackets: 95 % interval."
    )
    return Section(
        "Missing modalities", (text,), (Table("Mean Dice of the cases, AUROC of all", columns, tuple(rows)),)
    )


def _row(content: dict[str, Any], targets: list[str]) -> tuple[str, ...]:
    known = content["segmentation"]
    cells = [_cell(known[target]["dice"]["cases"], "mean") if target in known else "" for target in targets]
    tss = content["tss"]
    area = "" if tss["reason"] else _cell(tss["measures"]["pooled"]["AUROC"], "value")
    return (", ".join(content.get("without", ())) or "nothing", *cells, area)


def _cell(measured: dict[str, Any], key: str) -> str:
    bounds = measured["ci95"]
    between = f" ({number(bounds[0])} to {number(bounds[1])})" if bounds else ""
    return number(measured[key]) + between
