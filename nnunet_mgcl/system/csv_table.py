"""Comma-separated tables, as users write them and as we do: none of our cells starts a formula in a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import read_text, write_text
from nnunet_mgcl.system.numbers import number

_FORMULA = re.compile(r"[=+\-@\t\r]")
"""A spreadsheet calculates what begins so."""
_PREFIX = "'"
"""In front of such a cell: it makes text of it in a spreadsheet."""
_PREFIXED = re.compile(rf"{_PREFIX}+{_FORMULA.pattern}")

Rows = list[tuple[str, dict[str, str]]]
"""Each row as where it is ("<path>, line 3") and the text by column."""


def read_csv(path: Path, what: str) -> tuple[list[str], Rows]:
    """Reads a table, UTF-8 with or without a byte order mark. Lines without any content are passed over.

    Args:
        path: The file.
        what: What it should be, for messages.

    Returns:
        The names of the columns, and the rows; equal to what `write_csv` was given, but for blanks around a cell.

    Raises:
        UserError: It is missing, is no file (a pipe would be waited for without end), is not text, is not separated by
            commas, has a column twice, or a row is too short or too long.
    """
    text = read_text(path, f"{what}, a CSV file in UTF-8")
    lines = _lines(path, text)
    _, header = next(lines, ("", []))
    _check_header(path, text.partition("\n")[0], header)
    rows = []
    for where, fields in lines:
        if not any(fields):
            continue
        if len(fields) != len(header):
            raise UserError(where, f"{len(fields)} fields", f"{len(header)}: {header}", "mend the line")
        rows.append((where, dict(zip(header, fields, strict=True))))
    return header, rows


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes a table atomically, a line for the columns' names first; what a row lacks is an empty cell.

    Text that would start a formula in a spreadsheet gets a `'` in front, which `read_csv` takes off again.
    """
    write_text(path, csv_text(columns, rows))


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """What `write_csv` writes."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    for row in (dict(zip(columns, columns, strict=True)), *rows):
        writer.writerow({column: _harmless(value) for column, value in row.items()})
    return text.getvalue()


def check_identifier(name: str, where: object) -> None:
    """Refuses the name of a case or patient that would start a formula in the tables that it is written to.

    Raises:
        UserError: It begins with `=`, `+`, `-` or `@`.
    """
    if _FORMULA.match(name):
        expected = "a letter or digit first: spreadsheets take such a cell for a formula"
        raise UserError(where, repr(name), expected, "rename it")


def _harmless(value: Any) -> Any:
    """A cell that a spreadsheet takes for text; one that looks like that already gets a prefix of its own."""
    if not isinstance(value, str) or not (_FORMULA.match(value) or _PREFIXED.match(value)):
        return value
    try:
        number(value)
    except ValueError:
        return _PREFIX + value
    return value  # such as -1.5


def _lines(path: Path, text: str) -> Iterator[tuple[str, list[str]]]:
    """Where each line is, and its fields."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        where = f"{path}, line {reader.line_num + 1}"
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            remedy = "mend the line: perhaps a quotation mark is not closed"
            raise UserError(where, f"no line of a CSV file ({error})", "fields between commas", remedy) from None
        stripped = (field.strip() for field in fields)
        yield where, [field.removeprefix(_PREFIX) if _PREFIXED.match(field) else field for field in stripped]


def _check_header(path: Path, line: str, header: list[str]) -> None:
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if separator in line and "," not in line:
            excel = "Excel: CSV UTF-8, with a comma as the system's list separator"
            remedy = f"save it as comma-separated CSV ({excel}), or replace the {name} by commas in a text editor"
            raise UserError(path, f"columns separated by {name}", "commas", remedy)
    if len(set(header)) < len(header):
        raise UserError(f"{path}, line 1", f"columns {header}", "each column once", "remove one")
