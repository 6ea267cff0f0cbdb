from __future__ import annotations

import json

import pytest

from nnunet_mgcl.engine import curves as module
from nnunet_mgcl.engine.curves import SECONDS_BETWEEN_DRAWINGS, Curves


@pytest.fixture
def clock(monkeypatch):
    """Seconds that a test may change."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def path(tmp_path, clock):
    return tmp_path / "phases" / "progress.png"


def numbers(path):
    panels = json.loads(path.with_name("curves.json").read_text())
    return {phase: panel["curves"] for phase, panel in panels.items()}


def is_png(path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 1000


def test_numbers_are_written_every_epoch_and_the_picture_at_the_end(path) -> None:
    curves = Curves(path)
    curves.update("seed", "A", [3.0], finished=False)
    assert numbers(path) == {"seed": {"A": [3.0]}}
    assert not path.exists()
    curves.update("seed", "A", [3.0, 2.0], finished=True)
    assert numbers(path) == {"seed": {"A": [3.0, 2.0]}}
    assert is_png(path)


def test_a_long_phase_is_drawn_meanwhile_but_not_every_epoch(path, clock) -> None:
    curves = Curves(path)
    clock[0] = SECONDS_BETWEEN_DRAWINGS + 1
    curves.update("seed", "A", [3.0], finished=False)
    assert is_png(path)
    path.unlink()
    curves.update("seed", "A", [3.0, 2.0], finished=False)
    assert not path.exists()


def test_resumed_run_keeps_the_earlier_curves(path) -> None:
    Curves(path).update("seed", "A", [3.0, 2.0], finished=False)
    resumed = Curves(path)
    resumed.update("seed", "B", [5.0], finished=False)
    resumed.update("coarse", "A", [7.0], finished=False)
    assert numbers(path) == {"seed": {"A": [3.0, 2.0], "B": [5.0]}, "coarse": {"A": [7.0]}}


def test_curve_of_a_branch_is_replaced_not_prolonged(path) -> None:
    curves = Curves(path)
    losses = [3.0]
    curves.update("seed", "A", losses, finished=False)
    losses.append(2.0)  # the caller's list is not kept
    curves.update("seed", "B", [1.0], finished=False)
    assert numbers(path)["seed"] == {"A": [3.0], "B": [1.0]}
    curves.update("seed", "A", losses, finished=False)
    assert numbers(path)["seed"]["A"] == [3.0, 2.0]


def test_a_panel_names_its_own_axes_also_after_a_restart(path, monkeypatch) -> None:
    drawn = []
    monkeypatch.setattr(module.Figure, "savefig", lambda figure, target, dpi: (drawn.append(figure), target.touch()))
    Curves(path).update("pseudo_label_1", "A", [0.9], finished=False, axes=("pool case", "confidence"))
    Curves(path).update("seed", "A", [1.0], finished=False)
    Curves(path).update("seed", "B", [1.0], finished=True)
    assert [axis.get_ylabel() for axis in drawn[0].axes] == ["confidence", "training loss"]
    assert [len(axis.lines) for axis in drawn[0].axes] == [1, 2]


def test_dollars_in_names_are_dollars(path) -> None:
    Curves(path).update("seed", "$\\bad$", [3.0], finished=True)
    assert is_png(path)
