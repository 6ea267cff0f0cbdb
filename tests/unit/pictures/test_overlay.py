from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from nnunet_mgcl.pictures.case_panels import CasePanels, Panel
from nnunet_mgcl.pictures.overlay import draw_overlay, montage_figure, outlines_in_words, overlay_figure
from nnunet_mgcl.pictures.slice_choice import largest_slice, montage_slices
from nnunet_mgcl.report.page.style import WIDTH, figure_style

SHAPE = (5, 16, 16)


def mask(slices: dict[int, int]) -> np.ndarray:
    """A mask with so many voxels in these slices."""
    volume = np.zeros(SHAPE, bool)
    for z, voxels in slices.items():
        volume[z].flat[:voxels] = True
    return volume


def panel(reference=None, prediction=None, title="DWI") -> Panel:
    image = np.random.default_rng(0).normal(size=SHAPE)
    return Panel(title, image, [mask(reference or {})], [mask(prediction or {})])


def case(*panels: Panel, title="case_1", spacing=(5.0, 1.0, 1.0), sides=None) -> CasePanels:
    return CasePanels(title, panels, spacing, sides)


@pytest.mark.parametrize(
    ("panels", "expected", "reason"),
    [
        ([panel({1: 3, 3: 9}, {4: 100})], 3, "largest reference"),
        ([panel({1: 5, 3: 4}), panel({3: 4, 4: 6})], 3, "largest reference"),  # the panels of a case share a slice
        ([panel({}, {1: 2, 4: 3})], 4, "no reference, largest prediction"),
        ([panel(), panel()], 2, "no lesion, middle"),
    ],
)
def test_slice_with_the_largest_reference_else_prediction_else_the_middle(panels, expected, reason) -> None:
    assert largest_slice(case(*panels)) == (expected, reason)


def panels_of(figure):
    return [axis for axis in figure.axes if axis.images]


def test_the_head_is_cut_out_but_no_lesion_is_cut_off() -> None:
    image = np.zeros((3, 60, 60))
    image[:, 20:40, 20:40] = 1
    lesion = np.zeros(image.shape, bool)
    lesion[1, 30, 55] = True
    (top, bottom), (left, right) = case(Panel("", image, [lesion], []), sides=("R", "L")).frame()
    assert (top, bottom) == (12, 48)
    assert (left, right) == (12, 60)


@pytest.mark.parametrize(
    ("reference", "prediction", "expected"),
    [({1: 20, 3: 30}, {2: 20}, [1, 2, 3]), ({0: 1, 2: 50}, {3: 40}, [2, 3]), ({}, {}, [1, 2, 3])],
)
def test_montage_goes_through_the_lesion(reference, prediction, expected) -> None:
    assert montage_slices(case(panel(reference, prediction))) == expected


def test_specks_of_one_channel_do_not_take_the_place_of_another_one_s_lesion() -> None:
    lesion, specks = np.zeros((20, 9, 9), bool), np.zeros((20, 9, 9), bool)
    lesion[2:4, 0, :3] = True
    specks[:, 0, :] = True
    panels = [Panel("DWI", np.zeros(lesion.shape), [], [lesion]), Panel("Tmax", np.zeros(lesion.shape), [], [specks])]
    assert {2, 3} <= set(montage_slices(case(*panels)))


def test_montage_has_the_largest_slice() -> None:
    image, lesion = np.zeros((20, 8, 8)), np.zeros((20, 8, 8), bool)
    lesion[2:18, 0, :2] = lesion[4, 0, :] = True
    slices = montage_slices(case(Panel("", image, [lesion], [])))
    assert 4 in slices and len(slices) == 5


def test_legend_names_what_is_drawn_and_every_target_where_there_are_several() -> None:
    masks = [mask({2: 9}), mask({2: 60}), mask({2: 150})]
    targets = Panel("DWI", np.zeros(SHAPE), masks, masks, ["core", "penumbra", "oedema"])
    for one, expected in (
        (panel({1: 1}, {1: 1}), ["reference", "prediction"]),
        (Panel("DWI", np.zeros(SHAPE), [], [mask({1: 3})]), ["prediction"]),
        (targets, ["reference", "prediction", "core", "penumbra", "oedema"]),
    ):
        figure = overlay_figure([case(one)], width=5)
        assert [text.get_text() for text in figure.legends[0].get_texts()] == expected
        said = outlines_in_words([one])
        assert ("reference" in said) == ("reference" in expected) and ("each target" in said) == (one is targets)


def test_every_panel_of_every_case_names_its_slice() -> None:
    cases = [case(*[panel({1: 20}, title=str(n)) for n in range(5)]), case(panel({}, {4: 30}), title="case_2")]
    figure = overlay_figure(cases, width=6)
    assert [axis.get_title() for axis in panels_of(figure)] == ["0", "1", "2", "3", "4", "DWI"]
    headings = [axis.texts[0].get_text() for axis in figure.axes if not axis.images]
    assert ["slice 2 of 5" in headings[0], "slice 5 of 5" in headings[1]] == [True, True]
    montage = montage_figure(cases[0], [1, 2, 3], width=6)
    assert [axis.get_title() for axis in montage.axes[:3]] == ["slice 2 of 5", "slice 3 of 5", "slice 4 of 5"]


def test_constant_image_can_be_drawn(tmp_path) -> None:
    constant = Panel("DWI", np.zeros(SHAPE), [mask({1: 3})], [mask({})])
    draw_overlay(tmp_path / "overlay.png", [case(constant, sides=("R", "L"))], "Phantom")
    assert (tmp_path / "overlay.png").stat().st_size > 1000


def overlapping(boxes) -> list[tuple[int, int]]:
    return [(i, j) for i, a in enumerate(boxes) for j, b in enumerate(boxes) if i < j and a.overlaps(b)]


@pytest.mark.parametrize("name", ["Modality-with-long-name-{}", "Modality_without_a_break_{}", "A name of words " * 9])
def test_long_names_do_not_run_into_each_other(name) -> None:
    one = case(*[panel({1: 3}, title=name.format(n)) for n in range(8)], title="case " * 40)
    with figure_style():
        montage, rows = montage_figure(one, [0, 1, 2, 3, 4], WIDTH), overlay_figure([one], WIDTH)
    texts = [axis.yaxis.label for axis in montage.axes[::5]]
    titles = [axis.title for axis in panels_of(rows)]
    for figure, own in ((montage, texts), (rows, titles)):
        figure.draw_without_rendering()
        assert not overlapping([text.get_window_extent() for text in own])
        assert not any(text.get_text() == "" for text in own)
    heading = rows.axes[0].texts[0].get_window_extent()
    assert heading.x1 <= rows.bbox.x1 and not overlapping([heading, *[title.get_window_extent() for title in titles]])


def test_dollars_in_names_are_dollars(tmp_path, monkeypatch) -> None:
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: (path.touch(), drawn.append(self)))
    draw_overlay(tmp_path / "overlay.png", [case(panel(title="T2$_x$"), title="$\\bad$")], "$\\bad$")
    monkeypatch.undo()
    assert not any(text.get_parse_math() for text in drawn[0].findobj(Text) if "$" in text.get_text())
    drawn[0].draw_without_rendering()
