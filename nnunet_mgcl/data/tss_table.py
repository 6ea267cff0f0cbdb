"""`tss.csv`: the time since stroke onset (TSS) of the labelled cases."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from nnunet_mgcl.system.csv_table import check_identifier, read_csv
from nnunet_mgcl.system.errors import UserError, suggestion
from nnunet_mgcl.system.numbers import number

TSS_WINDOW_HOURS = 4.5
"""Below it a case is positive: it may still be treated by thrombolysis (section 1 of the paper)."""

LIMIT_HOURS = 168.0
"""A week. Larger values are minutes or dates by mistake."""

COLUMNS = ("case", "tss_hours", "tss_class", "patient")


def binarise(hours: float) -> bool:
    """Whether a TSS lies within the window (positive class)."""
    return hours < TSS_WINDOW_HOURS


@dataclass(frozen=True)
class TSSRow:
    """What the table says about one case.

    `positive` is None where it knows the patient only, `hours` also where it gives the class only.
    """

    positive: bool | None
    hours: float | None
    patient: str | None


@dataclass(frozen=True)
class TSSTable:
    """The rows of `tss.csv` by case. The TSS is unknown without a row, or with one that only names the patient."""

    rows: dict[str, TSSRow]

    @property
    def cases(self) -> list[str]:
        """Cases with a known TSS, sorted."""
        return sorted(case for case, row in self.rows.items() if row.positive is not None)

    def positive(self, case: str) -> bool | None:
        """Whether TSS < 4.5 h; None where unknown."""
        return self.rows[case].positive if case in self.rows else None

    def hours(self, case: str) -> float | None:
        """The TSS in hours; None where unknown or given as a class only."""
        return self.rows[case].hours if case in self.rows else None

    def patient(self, case: str) -> str:
        """The patient; a case without one is a patient of its own."""
        row = self.rows.get(case)
        return row.patient if row and row.patient is not None else case


def read_tss_table(path: Path, cases: Collection[str]) -> TSSTable:
    """Reads and checks a table with the columns `case`, `tss_hours` or `tss_class`, and optionally `patient`.

    Args:
        path: The file, comma-separated, UTF-8 with or without a byte order mark.
        cases: Names of the labelled cases.

    Raises:
        UserError: The file is missing or anything in it is wrong.
    """
    header, lines = read_csv(path, "the TSS table")
    _check_columns(path, header)
    rows: dict[str, TSSRow] = {}
    for where, values in lines:
        case = values["case"]
        if case not in cases:
            remedy = suggestion(case, cases, "name cases as nnU-Net does, or remove the row")
            raise UserError(where, f"unknown case {case!r}", "one of the labelled cases", remedy)
        if case in rows:
            raise UserError(where, f"a second row for {case!r}", "one row a case", "remove one")
        rows[case] = _row(where, values)
    if not rows:
        raise UserError(path, "no row", "one row for each case with a known TSS", "add rows, or remove the file")
    return TSSTable(rows)


def _check_columns(path: Path, header: list[str]) -> None:
    for column in header:
        if column not in COLUMNS:
            remedy = suggestion(column.lower(), COLUMNS, "remove the column")
            raise UserError(f"{path}, line 1", f"column {column!r}", f"columns among {COLUMNS}", remedy)
    if "case" not in header or ("tss_hours" in header) == ("tss_class" in header):
        expected = "case, one of tss_hours and tss_class, and optionally patient"
        raise UserError(f"{path}, line 1", f"columns {header}", expected, "add or remove a column")


def _row(where: str, values: dict[str, str]) -> TSSRow:
    patient = values.get("patient")
    if patient == "":
        raise UserError(where, "an empty patient", "a patient in every row", "fill it in or remove the column")
    check_identifier(patient or "", f"{where}, column patient")
    column = "tss_class" if "tss_class" in values else "tss_hours"
    value = values[column]
    if patient is not None and not value:
        return TSSRow(None, None, patient)
    remedy = "mend the value; where the TSS is unknown, " + ("remove the row" if patient is None else "leave it empty")
    if column == "tss_class":
        if value not in ("0", "1"):
            raise UserError(where, f"tss_class {value!r}", f"1 (TSS < {TSS_WINDOW_HOURS} h) or 0", remedy)
        return TSSRow(value == "1", None, patient)
    hours = read_hours(value, where, remedy)
    return TSSRow(binarise(hours), hours, patient)


def read_hours(text: str, where: str, remedy: str) -> float:
    """The time since stroke from the text of a cell `tss_hours`.

    Raises:
        UserError: It is no number of hours up to a week.
    """
    try:
        hours = number(text)
    except ValueError:
        hours = math.nan
    if not 0 <= hours <= LIMIT_HOURS:
        raise UserError(where, f"tss_hours {text!r}", f"hours from 0 to {LIMIT_HOURS:g}", remedy)
    return hours
