from __future__ import annotations

import numpy as np
import pytest

from nnunet_mgcl.evaluation import overlay
from nnunet_mgcl.evaluation.overlay import Panel, draw_overlay, largest_slice

SHAPE = (5, 16, 16)


def mask(slices: dict[int, int]) -> np.ndarray:
    """A mask with so many voxels in these slices."""
    volume = np.zeros(SHAPE, bool)
    for z, voxels in slices.items():
        volume[z].flat[:voxels] = True
    return volume


def panel(reference=None, prediction=None, title="DWI") -> Panel:
    image = np.random.default_rng(0).normal(size=SHAPE)
    return Panel(title, image, mask(reference or {}), mask(prediction or {}))


@pytest.mark.parametrize(
    ("panels", "expected"),
    [
        ([panel({1: 3, 3: 9}, {4: 100})], 3),
        ([panel({1: 5, 3: 4}), panel({3: 4, 4: 6})], 3),  # the panels of a case share a slice
        ([panel({}, {1: 2, 4: 3})], 4),
        ([panel(), panel()], 2),  # nothing to show: the middle
    ],
)
def test_slice_with_the_largest_reference_else_prediction_else_the_middle(panels, expected) -> None:
    assert largest_slice(panels) == expected


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Draws two cases, of which the second has one modality only; returns the figure."""
    figures = []
    monkeypatch.setattr(overlay.Figure, "savefig", lambda figure, path, dpi: (figures.append(figure), path.touch()))
    cases = [
        ("case_1", [panel({1: 20}, {1: 10}), panel({1: 5}, title="PWI")]),
        ("case_2", [panel({}, {4: 30})]),
    ]
    draw_overlay(tmp_path / "overlay.png", cases, "Phantom")
    return figures[0]


def test_a_row_a_case_and_a_column_a_modality(drawn) -> None:
    axes = np.reshape(drawn.axes, (2, 2))
    assert [axis.get_title() for axis in axes[0]] == ["DWI", "PWI"]
    assert [axis.get_ylabel() for axis in axes[:, 0]] == ["case_1\nslice 2", "case_2\nslice 5"]
    assert drawn.get_suptitle() == "Phantom"


def test_both_outlines_are_drawn_where_there_is_something(drawn) -> None:
    outlines = [len(axis.collections) for axis in drawn.axes]
    assert outlines == [2, 1, 1, 0]
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["reference", "prediction"]


def test_picture_is_written_whole(tmp_path) -> None:
    draw_overlay(tmp_path / "overlay.png", [("case_1", [panel({1: 20}, {1: 10})])], "Phantom")
    assert [path.name for path in tmp_path.iterdir()] == ["overlay.png"]
    assert (tmp_path / "overlay.png").read_bytes().startswith(b"\x89PNG")


def test_constant_image_can_be_drawn(tmp_path) -> None:
    constant = Panel("DWI", np.zeros(SHAPE), mask({1: 3}), mask({}))
    draw_overlay(tmp_path / "overlay.png", [("case_1", [constant])], "Phantom")
    assert (tmp_path / "overlay.png").stat().st_size > 1000
