from __future__ import annotations

import csv

import pytest

from nnunet_mgcl.system.csv_table import check_identifier, read_csv, write_csv
from nnunet_mgcl.system.errors import UserError

FORMULAS = ["=1+1", '=HYPERLINK("http://x","y")', "+1+1", "-2+3", "@SUM(A1)", "-", "+", "-case"]
TEXTS = [*FORMULAS, "'=1+1", "''@x", "'quoted'", "'", "-1.5", "+2e3", "a,b", 'a "b"', "two\nlines", "a\u2028b", "ü"]


def read(tmp_path, text):
    (tmp_path / "table.csv").write_text(text, encoding="utf-8")
    return read_csv(tmp_path / "table.csv", "a table")


def test_table_begins_with_its_columns_and_what_a_row_lacks_is_an_empty_cell(tmp_path) -> None:
    rows = [{"ml": 1.5, "case": "a,b"}, {"case": "ü"}, {"case": "c", "ml": None}]
    write_csv(tmp_path / "a.csv", ("case", "ml"), rows)
    assert (tmp_path / "a.csv").read_bytes() == 'case,ml\n"a,b",1.5\nü,\nc,\n'.encode()


def test_what_is_written_is_read_back_equal(tmp_path) -> None:
    write_csv(tmp_path / "a.csv", ("case", "=why"), [{"case": text, "=why": text} for text in TEXTS])
    header, rows = read_csv(tmp_path / "a.csv", "a table")
    assert header == ["case", "=why"]
    assert [row for _, row in rows] == [{"case": text, "=why": text} for text in TEXTS]


def test_no_cell_starts_a_formula_and_numbers_stay_numbers(tmp_path) -> None:
    write_csv(tmp_path / "a.csv", ("text", "number"), [{"text": text, "number": -1.5} for text in FORMULAS])
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == [f"'{text}" for text in FORMULAS]
    assert {row["number"] for row in rows} == {"-1.5"}
    write_csv(tmp_path / "a.csv", ("text",), [{"text": "-1.5"}])
    assert (tmp_path / "a.csv").read_text() == "text\n-1.5\n"


@pytest.mark.parametrize("name", [*FORMULAS, "-1", "+49"])
def test_identifier_that_would_start_a_formula_is_refused(name) -> None:
    with pytest.raises(UserError, match=r"tss\.csv") as error:
        check_identifier(name, "tss.csv")
    assert repr(name) in error.value.found and "rename" in error.value.remedy


def test_rows_are_named_by_the_line_that_they_begin_at(tmp_path) -> None:
    _, rows = read(tmp_path, 'case,note\na,"1\n2"\n\n,\nb,x\n')
    assert [(where.rpartition(", ")[2], row["case"]) for where, row in rows] == [("line 2", "a"), ("line 6", "b")]


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        (f"case\na\n{'x' * 131_073}\n", "line 3", "131072"),
        ('case\na\n"b\nc\nd\n', "line 3", "unexpected end"),
        ("case\na\nb,c\n", "line 3", "2 fields"),
    ],
)
def test_what_is_no_line_of_a_table_is_refused_by_its_number(tmp_path, text, line, found) -> None:
    with pytest.raises(UserError) as error:
        read(tmp_path, text)
    assert error.value.where.endswith(f"table.csv, {line}")
    assert found in error.value.found
