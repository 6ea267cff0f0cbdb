from __future__ import annotations

import pytest

from nnunet_mgcl.evaluation.tables.format import number
from nnunet_mgcl.report.page.wording import in_hours
from nnunet_mgcl.system.errors import counted


@pytest.mark.parametrize(("hours", "text"), [(1 + 35 / 60, "1.58 h"), (6.0, "6 h"), (0.25, "0.25 h"), (26.5, "26.5 h")])
def test_hours_have_no_more_digits_than_minutes_give(hours, text) -> None:
    assert in_hours(hours) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 cases"), (1, "1 case"), (2, "2 cases")])
def test_one_is_singular(count, text) -> None:
    assert counted(count, "case") == text


@pytest.mark.parametrize("value", [None, float("nan")])
def test_what_has_no_value_is_undefined(value) -> None:
    assert number(value) == "undefined"
