from __future__ import annotations

import pytest

from nnunet_mgcl.data.tss_table import binarise, read_tss_table
from nnunet_mgcl.system.errors import UserError

CASES = ["case_1", "case_2", "case_3"]


def read(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "tss.csv"
    path.write_bytes(text.encode(encoding))
    return read_tss_table(path, CASES)


def test_hours_are_read_and_binarised(tmp_path):
    table = read(tmp_path, "case,tss_hours\ncase_1,4.4\ncase_2, 4.5\n\n")
    assert table.cases == ["case_1", "case_2"]
    assert binarise(4.49) and not binarise(4.5)
    assert (table.hours("case_1"), table.positive("case_1")) == (4.4, True)
    assert (table.hours("case_2"), table.positive("case_2")) == (4.5, False)


def test_classes_are_read(tmp_path):
    table = read(tmp_path, "tss_class,case\n1,case_1\n0,case_3\n")
    assert (table.positive("case_1"), table.positive("case_3")) == (True, False)
    assert (table.hours("case_1"), table.positive("case_2"), table.hours("case_2")) == (None, None, None)


def test_patients_group_cases_and_default_to_the_case(tmp_path):
    table = read(tmp_path, "case,tss_hours,patient\ncase_1,1,p\ncase_2,9,p\n")
    assert (table.patient("case_1"), table.patient("case_2"), table.patient("case_3")) == ("p", "p", "case_3")


@pytest.mark.parametrize("column", ["tss_hours", "tss_class"])
def test_row_of_an_unknown_tss_still_names_the_patient(tmp_path, column):
    table = read(tmp_path, f"case,{column},patient\ncase_1,1,p\ncase_2,,p\n")
    assert (table.positive("case_2"), table.hours("case_2"), table.patient("case_2")) == (None, None, "p")
    assert table.cases == ["case_1"]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_what_spreadsheets_write_is_read(tmp_path, ending):
    table = read(tmp_path, ending.join(['"case",tss_hours', '"case_1",3', ""]), encoding="utf-8-sig")
    assert table.hours("case_1") == 3


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("Case,tss_hours\ncase_1,3\n", "did you mean 'case'"),
        ("case,tss_hours,pateint\ncase_1,3,p\n", "did you mean 'patient'"),
        ("case,case,tss_hours\ncase_1,case_1,3\n", "each column once"),
        ("case,tss_hours\ncase_1\n", "1 fields"),
        ("case,tss_hours\ncase_1,168.1\n", "hours from 0 to 168"),
        ("case,tss_class\ncase_1,\n", "tss_class ''"),
        ("case,tss_hours,patient\ncase_1,x,p\n", "leave it empty"),
    ],
)
def test_mistakes_are_refused_and_named(tmp_path, text, match):
    """Beside those that tests/corpus/test_train_data.py meets in training."""
    with pytest.raises(UserError, match=match):
        read(tmp_path, text)
