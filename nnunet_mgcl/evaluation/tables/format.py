"""Numbers as text, and the one look of all tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from nnunet_mgcl.system.errors import counted, some
from nnunet_mgcl.system.pages import paragraphs

NAMES = {
    "dice": "Dice",
    "lesion_f1": "lesion F1",
    "volume_difference_ml": "vol. diff. ml",
    "hd95_mm": "HD95 mm",
    "surface_dice": "surface Dice",
    "log_loss": "log loss",
}
"""How the tables call a measure; the others are called as in the files."""

_DECIMALS = {"volume_difference_ml": 2, "hd95_mm": 1}


def plain_table(title: str, columns: Sequence[str], names: int) -> Table:
    """An empty table.

    Args:
        title: Its title.
        columns: Their headings.
        names: How many columns at the left hold names; the others hold numbers.
    """
    table = Table(title=title, title_justify="left", box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i < names else "right", no_wrap=i >= names)
    return table


def number(value: float | None, measure: str = "") -> str:
    """A value with as many decimals as its measure needs."""
    return "undefined" if value is None or math.isnan(value) else f"{value:z.{_DECIMALS.get(measure, 3)}f}"


def mean_sd(value: dict[str, Any], measure: str = "") -> str:
    """`0.844 ± 0.029`."""
    sd = "" if value["sd"] is None else f" ± {number(value['sd'], measure)}"
    return number(value["mean"], measure) + sd


def interval(value: Sequence[float] | None, measure: str = "") -> str:
    """`[0.812, 0.871]`."""
    return "" if value is None else f"\\[{number(value[0], measure)}, {number(value[1], measure)}]"


def told(command: str, content: dict[str, Any], **words: Any) -> list[str]:
    """What a command says about its numbers, a line each: its block of `words.txt`, which names also these words."""
    words |= {"content": content, "counted": counted, "divided_told": _divided_told}
    return paragraphs("evaluation/tables/words.txt", command, words)


def _divided_told(patients: Sequence[str]) -> str | None:
    """What it means that a fold's training has seen patients that it validates on; None where there are none."""
    if not patients:
        return None
    return (
        f"patients with cases in train and val of a fold: {some(patients)}. Its model has seen them, so the numbers "
        "are too good"
    )
