from __future__ import annotations

import json

import pytest

from nnunet_mgcl.engine.state import PhaseState
from nnunet_mgcl.system.errors import UserError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "phases" / "state.json"


def test_finished_parts_survive_a_restart(path) -> None:
    PhaseState(path).mark_done("seed", "A")
    restarted = PhaseState(path)
    restarted.mark_done("segment")
    restarted = PhaseState(path)
    assert restarted.is_done("seed", "A") and restarted.is_done("segment")
    assert not restarted.is_done("seed", "B")
    assert not restarted.is_done("seed")
    assert not restarted.is_done("self_train", "A")


def test_skipped_parts_survive_a_restart(path) -> None:
    state = PhaseState(path)
    state.mark_skipped("coarse", "A")
    assert not path.exists()  # a part that is skipped but not done is looked at again
    state.mark_done("coarse", "A")
    assert PhaseState(path).is_skipped("coarse", "A")
    assert not PhaseState(path).is_skipped("fine", "A")


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "null",
        "{}",
        '{"done": 1, "skipped": []}',
        '{"done": [], "skipped": [1]}',
        '{"done": [], "skipped": []}',
        '{"done": [], "skipped": [], "current": 3}',
        '{"done": [], "skipped": [], "current": {}}',
    ],
)
def test_another_file_is_refused(path, content) -> None:
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(UserError, match=r"state\.json"):
        PhaseState(path)


def test_state_in_words(path) -> None:
    state = PhaseState(path)
    assert state.described() == "0 parts are done"
    state.mark_done("seed", "A")
    state.mark_epoch("fine", "A", 3)
    assert state.described() == "1 parts are done (the last one is seed/A), fine/A after epoch 3"


def test_epoch_under_way_is_shown_until_the_part_is_finished(path) -> None:
    state = PhaseState(path)
    state.mark_epoch("fine", "A", 3)
    assert json.loads(path.read_text())["current"] == {"part": "fine/A", "finished_epochs": 3}
    assert not PhaseState(path).is_done("fine", "A")
    state.mark_done("fine", "A")
    assert json.loads(path.read_text())["current"] is None


def test_other_ranks_know_what_is_done_but_write_nothing(path) -> None:
    state = PhaseState(path, writes=False)
    state.mark_epoch("seed", "A", 1)
    state.mark_done("seed", "A")
    assert state.is_done("seed", "A")
    assert not path.exists()
