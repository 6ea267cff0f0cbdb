"""The time since stroke onset (TSS), from what a manifest says about it."""

from __future__ import annotations

import re
from datetime import datetime

from nnunet_mgcl.data.tss_table import LIMIT_HOURS, read_hours
from nnunet_mgcl.system.errors import UserError

_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?")
_FORM = "ISO 8601, as in 2024-03-01 07:30"


def hours_between(onset: str, scan: str, where: str) -> float | None:
    """Hours from onset to scan, from the text of two cells; None where both are empty.

    Raises:
        UserError: One is empty, has another form, only one has an offset from UTC, or the scan is not within a week
            after the onset.
    """
    if not onset or not scan:
        if onset == scan:
            return None
        missing = "scan_time" if onset else "onset_time"
        raise UserError(where, f"no {missing}", "both onset_time and scan_time, or neither", "fill in or empty both")
    start, end = _time("onset_time", onset, where), _time("scan_time", scan, where)
    if (start.tzinfo is None) != (end.tzinfo is None):
        found = f"onset_time {onset!r} and scan_time {scan!r}"
        raise UserError(where, found, "both with an offset from UTC, or none", "add it to the other, or remove it")
    hours = (end - start).total_seconds() / 3600
    if hours < 0:
        found = f"onset_time {onset} after scan_time {scan}"
        raise UserError(where, found, "an onset before the scan", "mend the times, or swap them")
    if hours > LIMIT_HOURS:
        found = f"{hours:.0f} hours between onset_time {onset} and scan_time {scan}"
        raise UserError(where, found, f"at most {LIMIT_HOURS:g}", "mend the date, or empty both cells")
    return hours


def hours_from(text: str, where: str) -> float | None:
    """Hours from the text of a cell `tss_hours`; None where it is empty.

    Raises:
        UserError: It is not a number from 0 to 168 (a week).
    """
    remedy = "write a number, such as 3.5 (a decimal point); where the time is unknown, leave the cell empty"
    return read_hours(text, where, remedy) if text else None


def _time(column: str, text: str, where: str) -> datetime:
    try:
        # fromisoformat alone would also take a date without a time, for midnight.
        return datetime.fromisoformat(text if _TIME.fullmatch(text) else "")
    except ValueError:
        remedy = "write it so (a spreadsheet: format the column as text)"
        raise UserError(where, f"{column} {text!r}", _FORM, remedy) from None
