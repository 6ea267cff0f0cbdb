from __future__ import annotations

import json

import pytest

from nnunet_mgcl.config import MGCLConfig
from nnunet_mgcl.errors import UserError
from nnunet_mgcl.phases.state import PhaseState, configuration_hash

CONFIG = MGCLConfig(modalities={"A": [0]})
OTHER = MGCLConfig(modalities={"A": [0]}, coarse={"temperature": 0.2})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "phases" / "state.json"


def test_nothing_is_done_at_first_and_nothing_is_written(path) -> None:
    state = PhaseState(path, CONFIG)
    assert not state.is_done("seed", "A")
    assert not path.exists()


def test_finished_parts_survive_a_restart(path) -> None:
    PhaseState(path, CONFIG).mark_done("seed", "A")
    restarted = PhaseState(path, CONFIG)
    restarted.mark_done("segment")
    restarted = PhaseState(path, CONFIG)
    assert restarted.is_done("seed", "A") and restarted.is_done("segment")
    assert not restarted.is_done("seed", "B")
    assert not restarted.is_done("seed")
    assert not restarted.is_done("self_train", "A")


def test_epoch_under_way_is_shown_until_the_part_is_finished(path) -> None:
    state = PhaseState(path, CONFIG)
    state.mark_epoch("fine", "A", 3)
    assert json.loads(path.read_text())["current"] == {"part": "fine/A", "finished_epochs": 3}
    assert not PhaseState(path, CONFIG).is_done("fine", "A")
    state.mark_done("fine", "A")
    assert json.loads(path.read_text())["current"] is None


def test_phases_of_another_configuration_are_refused_by_name(path) -> None:
    PhaseState(path, CONFIG).mark_done("seed", "A")
    with pytest.raises(UserError, match=r"state\.json[\s\S]*another mgcl configuration[\s\S]*--c"):
        PhaseState(path, OTHER)
    assert PhaseState(path, CONFIG).is_done("seed", "A")


def test_other_ranks_know_what_is_done_but_write_nothing(path) -> None:
    state = PhaseState(path, CONFIG, writes=False)
    state.mark_epoch("seed", "A", 1)
    state.mark_done("seed", "A")
    assert state.is_done("seed", "A")
    assert not path.exists()


def test_hash_is_that_of_the_content() -> None:
    assert configuration_hash(CONFIG) != configuration_hash(OTHER)
    from_a_plan = MGCLConfig.model_validate(json.loads(json.dumps(CONFIG.model_dump(mode="json"))))
    assert configuration_hash(from_a_plan) == configuration_hash(CONFIG)
