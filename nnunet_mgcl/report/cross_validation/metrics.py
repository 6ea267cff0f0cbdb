"""The segmentation measures of each target, over cases, over folds and fold by fold."""

from __future__ import annotations

from typing import Any

from nnunet_mgcl.evaluation.measures.probability import MEASURES as THRESHOLD_FREE
from nnunet_mgcl.evaluation.measures.segmentation import MEASURES as SEGMENTATION
from nnunet_mgcl.evaluation.tables.format import mean_sd, number
from nnunet_mgcl.evaluation.tss_summary import RATES
from nnunet_mgcl.report.page.section import Section, Table
from nnunet_mgcl.report.page.wording import MEASURES, between

VOLUME = "volume_difference_ml"


def metrics_section(content: dict[str, Any]) -> Section:
    """A table a target, and one of the empty masks."""
    tolerance = content["settings"]["surface_dice_tolerance_mm"]
    text = [
        "Dice and surface Dice (surfaces within "
        f"{tolerance:g} mm) and lesion F1 (whole lesions found) are best at 1; volume difference and HD95 (the 95th "
        "percentile of the distances between the surfaces) at 0. A case in which one mask is empty counts with the "
        "worst value (HD95: the image diagonal, which can dominate the mean, so look at the median too), but for the "
        "volume difference, which has none: it is the volume of what was missed or made up. A case in which both are "
        "is left out of all but the volumes. docs/evaluation.md defines every measure.",
        "So it depends on the model which cases without a lesion have a Dice: one in which it finds none is left out, "
        "one with a false positive counts 0. Compare models with mgcl compare, which uses the cases that are defined "
        "in both.",
    ]
    for target, own in content["segmentation"].items():
        missing = [measure for measure in SEGMENTATION if own[measure]["cases"]["mean"] is None]
        if VOLUME in missing:  # never for want of a lesion
            text.append(f"{target}: {MEASURES[VOLUME]} undefined: {own[VOLUME]['cases']['reason']}.")
        if names := ", ".join(MEASURES[measure] for measure in missing if measure != VOLUME):
            text.append(f"{target}: {names} undefined, because no case has a lesion, neither drawn nor predicted.")
    tables = [_target(target, own) for target, own in content["segmentation"].items()]
    return Section("Segmentation", tuple(text), (*tables, _empty_masks(content)))


def _target(target: str, own: dict[str, Any]) -> Table:
    rows = []
    for measure in SEGMENTATION:
        cases, folds = own[measure]["cases"], mean_sd(own[measure]["folds"], measure)
        spread = (mean_sd(cases, measure), between(cases["ci95"], measure), number(cases["median"], measure))
        rows.append((MEASURES[measure], str(cases["n"]), *spread, folds))
    columns = ("", "cases", "mean ± sd over cases", "95 % interval of the mean", "median", "mean ± sd over folds")
    return Table(target, columns, tuple(rows))


def _empty_masks(content: dict[str, Any]) -> Table:
    """How often there was nothing to find, and nothing found."""
    counts = ("empty_reference", "empty_prediction", "both_empty", "one_empty")
    rows = [(target, *(str(own[count]) for count in counts)) for target, own in content["segmentation"].items()]
    return Table("Empty masks", ("", "without lesion", "nothing predicted", "both", "one (worst value)"), tuple(rows))


def folds_section(content: dict[str, Any]) -> Section:
    """Every fold by itself, folded away."""
    columns = ("", "cases with a Dice", *(MEASURES[measure] for measure in SEGMENTATION))
    tables = [Table(target, columns, _by_fold(scores)) for target, scores in content["segmentation"].items()]
    text = [
        "Means ± sd over the fold's cases with a Dice, of the volume difference over all its cases. A fold validates "
        "few cases, so its numbers vary."
    ]
    tss = content["tss"]
    if tss["reason"]:
        text.append(f"TSS: not evaluated, {tss['reason']}.")
    else:
        folds = tss["measures"]["per_fold"]
        tables.append(_tss_by_fold(folds, tss["operating_points"]["0.5"]["per_fold"]))
        reasons = {fold: scores["reason"] for fold, scores in folds.items() if scores["reason"]}
        text += [f"TSS, fold {fold}: {why}, so not every measure is defined." for fold, why in reasons.items()]
    return Section("Fold by fold", tuple(text), tuple(tables), folded=True)


def _by_fold(scores: dict[str, Any]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (f"Fold {fold}", str(dice["n"]), *(mean_sd(scores[name]["per_fold"][fold], name) for name in SEGMENTATION))
        for fold, dice in scores["dice"]["per_fold"].items()
    )


def _tss_by_fold(folds: dict[str, Any], half: dict[str, Any]) -> Table:
    rows = [
        (f"Fold {fold}", str(scores["cases"]), *(number(scores[measure]) for measure in THRESHOLD_FREE),
         *(number(half[fold][rate]) for rate in RATES))
        for fold, scores in folds.items()
    ]  # fmt: skip
    columns = ("", "cases", *(MEASURES[m] for m in THRESHOLD_FREE), *(f"{MEASURES[rate]} at 0.5" for rate in RATES))
    return Table("TSS < 4.5 h", columns, tuple(rows))
