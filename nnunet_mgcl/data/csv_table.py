"""Comma-separated tables as users write them."""

from __future__ import annotations

import csv
from pathlib import Path

from nnunet_mgcl.errors import UserError


def read_csv(path: Path, what: str) -> tuple[list[str], list[tuple[str, dict[str, str]]]]:
    """Reads a table, UTF-8 with or without a byte order mark. Lines without any content are passed over.

    Args:
        path: The file.
        what: What it should be, for messages.

    Returns:
        The names of the columns, and each row as where it is ("<path>, line 3") and the text by column.

    Raises:
        UserError: It is missing, is not text, is not separated by commas, has a column twice, or a row is too short or
            too long.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        remedy = "restore the file, or check the path"
        raise UserError(path, f"no readable file ({error.strerror})", what, remedy) from None
    except UnicodeDecodeError:
        raise UserError(path, "not UTF-8 text", "a CSV file in UTF-8", "save it as CSV UTF-8") from None
    header = _fields(lines[0]) if lines else []
    _check_header(path, lines[0] if lines else "", header)
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        fields, where = _fields(line), f"{path}, line {number}"
        if not any(fields):
            continue
        if len(fields) != len(header):
            raise UserError(where, f"{len(fields)} fields", f"{len(header)}: {header}", "mend the line")
        rows.append((where, dict(zip(header, fields, strict=True))))
    return header, rows


def _check_header(path: Path, line: str, header: list[str]) -> None:
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if separator in line and "," not in line:
            remedy = (
                "save it as comma-separated CSV (Excel: CSV UTF-8, with a comma as the system's list separator), or "
            )
            remedy += f"replace the {name} by commas in a text editor"
            raise UserError(path, f"columns separated by {name}", "commas", remedy)
    if len(set(header)) < len(header):
        raise UserError(f"{path}, line 1", f"columns {header}", "each column once", "remove one")


def _fields(line: str) -> list[str]:
    return [field.strip() for field in next(csv.reader([line]), [])]
