from __future__ import annotations

import pytest

from nnunet_mgcl.evaluation.runs.tss_validation import read_probabilities
from nnunet_mgcl.system.errors import UserError

TABLE = "case,probability,predicted_class\na,0.25,0\nb,1,1\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_probabilities_of_the_cases(tmp_path, encoding) -> None:
    (tmp_path / "tss.csv").write_text(TABLE, encoding=encoding)
    assert read_probabilities(tmp_path / "tss.csv") == {"a": 0.25, "b": 1.0}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        *((TABLE.replace("0.25", value), f"line 2\n  found:    probability '{value}'") for value in (
            "nan", "inf", "text", "-0.1", "1.2", "0_1", "٣")),
        (TABLE.replace("0.25", ""), "line 2\n  found:    no probability"),
        ("case,probability\na\n", "line 2\n  found:    1 fields"),
        (TABLE.replace("b,1", "a,1"), "line 3\n  found:    a a second time"),
        (TABLE.replace("probability", "p"), "no column probability"),
        (TABLE.replace("case", "kase"), "no column case"),
        ("", "no column case and probability"),
        (b"\xff\xfe\x00", "not UTF-8 text"),
    ],
)  # fmt: skip
def test_what_is_no_such_table_is_refused_with_its_row(tmp_path, content, message) -> None:
    path = tmp_path / "tss.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as error:
        read_probabilities(path)
    assert f"{path}" in str(error.value) and message in str(error.value) and "--val" in str(error.value)
