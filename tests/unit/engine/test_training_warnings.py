from __future__ import annotations

import pytest

from nnunet_mgcl.engine.training_warnings import TrainingWarning, TrainingWarnings, read_warnings
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import read_json


def warning(phase="coarse", branch="A", message="at chance") -> TrainingWarning:
    return TrainingWarning(phase, branch, message, "train it longer")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "phases" / "warnings.json"


def test_a_phase_s_warnings_take_the_place_of_its_earlier_ones_and_are_logged_once(path) -> None:
    lines = []
    warnings = TrainingWarnings(path, lines.append)
    warnings.replace("coarse", "A", [warning()])
    warnings.replace("coarse", "B", [warning(branch="B")])
    warnings.replace("coarse", "A", [warning(), warning(message="one class")])
    assert lines == [f"WARNING {own}" for own in (warning(), warning(branch="B"), warning(message="one class"))]
    assert lines[0] == "WARNING coarse A: at chance; remedy: train it longer"
    resumed = TrainingWarnings(path, lines.append)
    resumed.replace("coarse", "A", [warning()])
    assert len(lines) == 3
    assert read_warnings(path) == [warning(branch="B"), warning()]
    resumed.replace("coarse", "A", [])
    assert read_warnings(path) == [warning(branch="B")]


def test_where_all_is_well_there_is_no_file(path) -> None:
    TrainingWarnings(path, print).replace("coarse", "A", [])
    assert not path.parent.exists() and read_warnings(path) == []


def test_other_ranks_write_nothing(path) -> None:
    TrainingWarnings(path, lambda _: None, writes=False).replace("coarse", "A", [warning()])
    assert not path.exists()


@pytest.mark.parametrize(
    "text",
    ["{", "{}x", "[1]", '[{"phase": "coarse"}]', '[{"phase": 1, "branch": "A", "message": "", "remedy": ""}]', "7"],
)
def test_another_file_is_refused_with_the_remedy(path, text) -> None:
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(UserError, match="remedy"):
        read_warnings(path)


def test_the_file_has_what_a_script_needs(path) -> None:
    TrainingWarnings(path, lambda _: None).replace("coarse", "A", [warning()])
    (entry,) = read_json(path)
    assert entry == {"phase": "coarse", "branch": "A", "message": "at chance", "remedy": "train it longer"}
