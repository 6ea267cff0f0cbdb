"""Reads a fold's `validation/tss.csv`."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from nnunet_mgcl.errors import UserError


def read_probabilities(path: Path) -> dict[str, float]:
    """The probability of TSS < 4.5 h of each case.

    Raises:
        UserError: It is no such table, a case is there twice, or a probability is none.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # with the mark that spreadsheets put in front
    except UnicodeDecodeError:
        raise _refusal(path, "no text") from None
    rows = csv.DictReader(io.StringIO(text, newline=""))
    if missing := [name for name in ("case", "probability") if name not in (rows.fieldnames or [])]:
        raise _refusal(path, f"no column {' and '.join(missing)}")
    result: dict[str, float] = {}
    for row in rows:
        where = f"{path}, row {rows.line_num}"
        if row["case"] in result:
            raise _refusal(where, f"{row['case']} a second time")
        result[row["case"]] = _probability(where, row["probability"])
    return result


def _probability(where: str, text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:
        raise _refusal(where, f"probability {text!r}" if text else "no probability")
    return value


def _refusal(where: object, found: str) -> UserError:
    return UserError(where, found, "a probability from 0 to 1 for each validation case", "validate again: --val")
