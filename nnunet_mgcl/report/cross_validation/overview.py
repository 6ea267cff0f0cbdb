"""What was evaluated, and the few numbers that matter most."""

from __future__ import annotations

from typing import Any

from nnunet_mgcl.data.layout import FoldLayout
from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.evaluation.tables.evaluation import reasons
from nnunet_mgcl.evaluation.tables.format import mean_sd, number
from nnunet_mgcl.evaluation.tss_summary import RATES
from nnunet_mgcl.plan.dataset_json import channel_names
from nnunet_mgcl.report.page.section import Section, Table
from nnunet_mgcl.report.page.wording import MEASURES, between, pooled_cells
from nnunet_mgcl.report.training_warnings import training_warnings

TSS_MEASURES = ("AUROC", "Brier")


def overview_section(run: ValidatedRun, content: dict[str, Any]) -> Section:
    """Dataset, model, cases and the headline numbers, and why some of them are missing."""
    resampling = content["settings"]["bootstrap"]
    level = f"{resampling['level']:.0%}".replace("%", "\u00a0%")
    text = (
        "Every case was predicted by the model of the fold that did not train on it. Intervals hold "
        f"{level} of the results on {resampling['resamples']} resamples of the patients (bootstrap). They are for "
        "these trained models: another training is not in them; for that see the sd over folds. All numbers are of "
        "single folds' models, while mgcl predict takes the mean of all folds. No skill is what can be reached without "
        "looking at a case."
    )
    notes = [(line[0].upper() + line[1:],) for line in reasons(content)]
    if len({case["patient"] for case in content["cases"]}) < 2:
        notes.append(("All cases are of one patient, so there is no interval",))
    warnings = [
        (str(fold), f"{warning.phase} {warning.branch}".strip(), warning.message, warning.remedy)
        for fold in run.folds
        for warning in training_warnings(FoldLayout(run.model / f"fold_{fold}"))
    ]
    tables = (
        _headline(content, level),
        Table("Warnings of the training", ("fold", "where", "what was found", "remedy"), tuple(warnings)),
        Table("What to know about these numbers", ("",), tuple(notes)),
        _facts(run, content),
    )
    return Section("Overview", (text,), tuple(table for table in tables if table.rows))


def _facts(run: ValidatedRun, content: dict[str, Any]) -> Table:
    trainer, plans, configuration = (*content["model"].split("__"), "", "")[:3]
    labelled = {case for split in run.splits for part in ("train", "val") for case in split[part]}
    cases = content["cases"]
    rows = [
        ("Dataset", content["dataset"]),
        ("Trainer", trainer),
        ("Plans, configuration", f"{plans}, {configuration}"),
        ("Folds", f"{', '.join(map(str, content['folds']))} (of {len(run.splits)})"),
        ("Cases", f"{len(cases)} validated, of {len(labelled)} labelled"),
        ("Patients", str(len({case["patient"] for case in cases}))),
        ("Targets", ", ".join(content["segmentation"])),
        ("Modalities", _modalities(run)),
        ("TSS of the cases", _tss(cases)),
    ]
    return Table("What was evaluated", ("", ""), tuple(rows))


def _modalities(run: ValidatedRun) -> str:
    """Each modality with its channels."""
    names = channel_names(run.dataset_json)
    own = {name: ", ".join(names[channel] for channel in channels) for name, channels in run.modalities.items()}
    return "; ".join(name if name == channels else f"{name} ({channels})" for name, channels in own.items())


def _tss(cases: list[dict[str, Any]]) -> str:
    classes = [case["tss_class"] for case in cases]
    early, late, unknown = (classes.count(value) for value in (1, 0, None))
    return "unknown" if unknown == len(cases) else f"{early} < 4.5 h, {late} later, {unknown} unknown"


def _headline(content: dict[str, Any], level: str) -> Table:
    rows: list[tuple[str, ...]] = []
    for target, scores in content["segmentation"].items():
        dice, folds = scores["dice"]["cases"], mean_sd(scores["dice"]["folds"])
        rows.append((f"Dice, {target}", str(dice["n"]), number(dice["mean"]), between(dice["ci95"]), "", folds))
    tss = content["tss"]
    if not tss["reason"]:
        rows += [_tss_row(tss["measures"], measure, "") for measure in TSS_MEASURES]
        rows += [_tss_row(tss["operating_points"]["0.5"], rate, " at 0.5") for rate in RATES]
    columns = ("", "cases", "value", f"{level} interval", "no skill", "mean ± sd over folds")
    return Table("Headline numbers", columns, tuple(rows))


def _tss_row(block: dict[str, Any], measure: str, where: str) -> tuple[str, ...]:
    cases = block["pooled"][measure].get("n", block["pooled"]["cases"])
    return (f"TSS, {MEASURES[measure]}{where}", str(cases), *pooled_cells(block, measure))
