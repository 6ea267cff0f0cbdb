"""Reads a fold's `validation/tss.csv`."""

from __future__ import annotations

from pathlib import Path

from nnunet_mgcl.system.csv_table import read_csv
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.numbers import number


def read_probabilities(path: Path) -> dict[str, float]:
    """The probability of TSS < 4.5 h of each case.

    Raises:
        UserError: It is no such table, a case is there twice, or a probability is none.
    """
    try:
        header, rows = read_csv(path, "what validation writes")
    except UserError as error:
        raise _refusal(error.where, error.found) from None
    if missing := [name for name in ("case", "probability") if name not in header]:
        raise _refusal(path, f"no column {' and '.join(missing)}")
    result: dict[str, float] = {}
    for where, row in rows:
        if row["case"] in result:
            raise _refusal(where, f"{row['case']} a second time")
        result[row["case"]] = _probability(where, row["probability"])
    return result


def _probability(where: str, text: str) -> float:
    try:
        value = number(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:
        raise _refusal(where, f"probability {text!r}" if text else "no probability")
    return value


def _refusal(where: object, found: str) -> UserError:
    return UserError(where, found, "a probability from 0 to 1 for each validation case", "validate again: --val")
