"""Numbers and names as the report writes them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from nnunet_mgcl.evaluation.measures import probability, segmentation
from nnunet_mgcl.evaluation.segmentation_summary import EMPTY
from nnunet_mgcl.evaluation.tables.format import mean_sd, number
from nnunet_mgcl.evaluation.tss_summary import RATES
from nnunet_mgcl.system.errors import UserError, counted

Key = TypeVar("Key")
Value = TypeVar("Value")

MEASURES = {
    "dice": "Dice",
    "lesion_f1": "Lesion F1",
    "volume_difference_ml": "Volume difference (ml)",
    "hd95_mm": "HD95 (mm)",
    "surface_dice": "Surface Dice",
    "AUROC": "AUROC",
    "AP": "Average precision",
    "Brier": "Brier score",
    "ECE": "Calibration error (ECE)",
    "log_loss": "Log loss",
    "ACC": "Accuracy",
    "SEN": "Sensitivity",
    "SPE": "Specificity",
}
"""Names of the measures, with units."""
METHODS = {"platt": "Platt scaling", "isotonic": "isotonic regression"}
"""Names of the calibration's methods."""


def in_hours(hours: float) -> str:
    """`1.58 h`, `6 h`: to the minute, as a table of onset times is."""
    return f"{round(hours, 2):g} h"


def fold_names(folds: Iterable[int | str]) -> str:
    """`fold 0`, `folds 0, 1, 2`."""
    names = [str(fold) for fold in folds]
    return f"fold{'' if len(names) == 1 else 's'} {', '.join(names)}"


def grouped(pairs: Iterable[tuple[Key, Value]]) -> dict[Key, list[Value]]:
    """The values of each key."""
    groups: dict[Key, list[Value]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups


def with_folds(groups: Mapping[str, Iterable[int | str]]) -> str:
    """`seed of DWI (fold 0); tss of mrff (folds 1, 2)`."""
    return "; ".join(f"{what} ({fold_names(folds)})" for what, folds in groups.items())


def between(interval: Sequence[float] | None, measure: str = "") -> str:
    """`0.812 to 0.871`."""
    return "undefined" if interval is None else f"{number(interval[0], measure)} to {number(interval[1], measure)}"


def with_interval(value: dict[str, Any]) -> str:
    """A pooled value of `evaluation.json` with its interval: `0.844 (0.812 to 0.871)`."""
    text = number(value["value"])
    return text if value["ci95"] is None else f"{text} ({between(value['ci95'])})"


def mean_and_sd(values: Sequence[float], decimals: int = 3) -> str:
    """`0.844 ± 0.029`, of as many values as there are."""
    if not len(values):
        return "undefined"
    spread = f" ± {np.std(values, ddof=1):.{decimals}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{decimals}f}{spread}"


def no_skill(pooled: dict[str, Any]) -> str:
    """What is reached without looking at a case; empty where a measure or its cases have no such value."""
    return number(pooled["no_skill"]) if "no_skill" in pooled else ""


def pooled_cells(block: dict[str, Any], measure: str) -> tuple[str, ...]:
    """A TSS measure of `evaluation.json`: over all cases, its interval, no skill, and mean ± sd over the folds."""
    pooled = block["pooled"][measure]
    return number(pooled["value"]), between(pooled["ci95"]), no_skill(pooled), mean_sd(block["folds"][measure])


def operating_point(name: str) -> str:
    """An operating point of `evaluation.json` in words."""
    if name.startswith("sensitivity_"):
        return f"sensitivity {name.removeprefix('sensitivity_')} wanted"
    return {"youden": "Youden's index", "0.5": "threshold 0.5", "calibrated_0.5": "threshold 0.5, calibrated"}[name]


def without_folders(error: UserError) -> str:
    """What is wrong with a file, for a page that is passed on: its name alone."""
    path = Path(error.where)
    return f"{path.name}: {error.found.replace(f'{path.parent}/', '')}"


def file_stem(number: int, name: str) -> str:
    """A name that a user chose, as part of a file name; the number keeps different ones different."""
    return f"{number}_{re.sub(r'[^A-Za-z0-9]+', '_', name).strip('_')}".rstrip("_")


_FUNCTIONS = (
    between, counted, fold_names, in_hours, map, mean_and_sd, mean_sd, no_skill, number, operating_point, pooled_cells,
    with_folds, with_interval,
)  # fmt: skip
WORDS: dict[str, Any] = {function.__name__: function for function in _FUNCTIONS} | {
    "EMPTY": EMPTY,
    "MEASURES": MEASURES,
    "METHODS": METHODS,
    "RATES": RATES,
    "SEGMENTATION": segmentation.MEASURES,
    "THRESHOLD_FREE": probability.MEASURES,
}
"""What every template of prose may name."""
