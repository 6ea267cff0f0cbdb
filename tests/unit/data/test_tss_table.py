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
        ("", "columns"),
        ("case,tss_hours\n", "no row"),
        ("case;tss_hours\ncase_1;3\n", "semicolons"),
        ("case\ttss_hours\ncase_1\t3\n", "tabs"),
        ("case,case,tss_hours\ncase_1,case_1,3\n", "each column once"),
        ("case,tss_hours\ncase_1,4,5\n", "3 fields"),
        ("case,tss_hour\ncase_1,3\n", "did you mean 'tss_hours'"),
        ("Case,tss_hours\ncase_1,3\n", "did you mean 'case'"),
        ("case,tss_hours,pateint\ncase_1,3,p\n", "did you mean 'patient'"),
        ("case,patient\ncase_1,p\n", "one of tss_hours and tss_class"),
        ("case,tss_hours,tss_class\ncase_1,3,1\n", "one of tss_hours and tss_class"),
        ("case,tss_hours\ncase_1,3\ncase_9,3\n", r"line 3\n  found: +unknown case 'case_9'"),
        ("case,tss_hours\ncase_1.nii.gz,3\n", "did you mean 'case_1'"),
        ("case,tss_hours\ncase_1,3\ncase_1,3\n", "second row"),
        ("case,tss_hours\ncase_1,-1\n", "'-1'"),
        ("case,tss_hours\ncase_1,three\n", "'three'"),
        ("case,tss_hours\ncase_1,nan\n", "'nan'"),
        ("case,tss_hours\ncase_1,inf\n", "'inf'"),
        ("case,tss_hours\ncase_1,1_0\n", "'1_0'"),
        ("case,tss_hours\ncase_1,\n", "''"),
        ("case,tss_hours\ncase_1,270\n", "hours from 0 to 168"),
        ("case,tss_class\ncase_1,2\n", "tss_class '2'"),
        ("case,tss_class\ncase_1,\n", "tss_class ''"),
        ("case,tss_class,patient\ncase_1,1,\n", "empty patient"),
        ("case,tss_hours,patient\ncase_1,x,p\n", "leave it empty"),
        ("case,tss_hours\ncase_1,x\n", "remove the row"),
    ],
)
def test_mistakes_are_refused_and_named(tmp_path, text, match):
    with pytest.raises(UserError, match=match):
        read(tmp_path, text)


def test_no_table_of_text_is_refused(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        read_tss_table(tmp_path / "tss.csv", CASES)
    with pytest.raises(UserError, match="UTF-8"):
        read(tmp_path, "case,tss_hours,patient\ncase_1,3,Müller\n", encoding="latin-1")
