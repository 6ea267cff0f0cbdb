"""`mgcl.missing` of dataset.json: what it says of cases, and what it may not say."""

from __future__ import annotations

import pytest

from nnunet_mgcl.data.cases.incomplete import Incomplete
from nnunet_mgcl.system.errors import UserError

NAMES = ["DWI", "FLAIR", "PWI"]


def of(missing):
    return Incomplete.of({"mgcl": {"missing": missing}}, NAMES)


def test_cases_have_what_they_do_not_lack() -> None:
    incomplete = of({"b": ["PWI", "DWI"]})
    assert incomplete and incomplete.present("a") == [0, 1, 2] and incomplete.present("b") == [1]
    assert incomplete.with_all("abc", ["DWI"]) == ["a", "c"] and incomplete.with_all("abc", ["FLAIR"]) == [*"abc"]
    assert incomplete.mask("b").tolist() == [False, True, False]
    assert incomplete.mask("b", ["FLAIR", "PWI"]).tolist() == [True, False]
    assert not Incomplete.of({}, NAMES) and not Incomplete.of({"mgcl": None}, NAMES)


@pytest.mark.parametrize(
    ("missing", "told"),
    [({"d": ["PWI"]}, "no labelled case"), ({"a": ["PWL"]}, "PWI"), ({"a": NAMES}, "every modality")],
)
def test_mistakes_are_answered(missing, told) -> None:
    with pytest.raises(UserError, match=told):
        of(missing).check("abc")
