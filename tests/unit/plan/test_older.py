from __future__ import annotations

from typing import Annotated

from pydantic import Field

from nnunet_mgcl.plan.config import Older, _Block, config_model
from nnunet_mgcl.plan.older import filled, followed


class Inner(_Block):
    always: int = 1
    new: Annotated[Annotated[int, Field(ge=0)], Older(20)] = 2


class Added(_Block):
    length: Annotated[int | None, Older(None)] = 3
    width: int = 4


class Outer(_Block):
    inner: Inner = Inner()
    added: Added = Added()
    replaced: Annotated[Inner, Older({"always": 7, "new": 8})] = Inner()
    flag: Annotated[bool, Older(False)] = True
    name: str = "a"


OLD = {"inner": {"always": 5}, "name": "b"}


class TestFilled:
    def test_missing_keys_are_what_older_versions_did_at_every_depth(self) -> None:
        assert filled(OLD, Outer) == {
            "inner": {"always": 5, "new": 20},
            "added": {"length": None},  # width is not marked: its default is what older versions did
            "replaced": {"always": 7, "new": 8},
            "flag": False,
            "name": "b",
        }
        assert "new" not in OLD["inner"]

    def test_keys_that_are_there_stay_as_they_are(self) -> None:
        new = Outer().model_dump()
        assert filled(new, Outer) == new
        assert filled({**new, "flag": True}, Outer)["flag"] is True

    def test_block_of_today_is_complete(self) -> None:
        block = config_model()().model_dump(mode="json")
        assert filled(block, config_model()) == block


class TestFollowed:
    def test_open_keys_are_those_of_the_earlier_folds(self) -> None:
        block = followed({"inner": {}}, filled(OLD, Outer), Outer)
        resolved = Outer.model_validate(block)
        assert (resolved.inner.new, resolved.added.length, resolved.flag) == (20, None, False)
        assert resolved.replaced == Inner(always=7, new=8)

    def test_earlier_folds_of_today_keep_their_own_values(self) -> None:
        assert followed({}, filled({**OLD, "flag": True}, Outer), Outer)["flag"] is True

    def test_what_the_plan_sets_and_what_is_not_marked_is_the_plan_s(self) -> None:
        block = followed({"flag": True, "inner": {"new": 3}}, filled(OLD, Outer), Outer)
        assert block["flag"] is True and block["inner"] == {"new": 3}
        assert Outer.model_validate(block).name == "a" and Outer.model_validate(block).inner.always == 1
