"""Pictures of cases whose files lie in several directions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunet_mgcl.pictures.anatomical_view import AnatomicalView
from nnunet_mgcl.report.cross_validation.overlays import chosen_cases, overlays_section, ranked_cases
from nnunet_mgcl.report.patient.page import patient_sections
from tests.unit.report.oriented_run import DIRECTIONS, SPACING, oriented, volumes


def section_figure(run, content):
    return overlays_section(run, content).pictures[0].figure


def patient_figure(run, content):
    return picture(patient_sections(run, content, "case_1", None, None))


def new_patient_figure(run, content):
    raw = run.layout.raw
    return picture(patient_sections(run, content, "new_1", raw / "imagesTs", raw.parent / "predicted"))


def picture(sections):
    return next(s for s in sections if s.title == "Images").pictures[0].figure


FIGURES = (section_figure, patient_figure, new_patient_figure)


def in_mm(axis):
    """Where the brightest part of the drawn image is, from its middle: right and down, in mm."""
    shown, (left, right, bottom, top) = axis.images[0].get_array(), axis.images[0].get_extent()
    y, x = np.argwhere(shown > 100).mean(axis=0) + 0.5
    across, down = x / shown.shape[1] * (right - left), y / shown.shape[0] * (bottom - top)
    return across - (right - left) / 2, down - (bottom - top) / 2


@pytest.mark.parametrize("draw", FIGURES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_what_is_left_in_the_patient_is_right_in_every_picture(make_run, direction, draw) -> None:
    figure = draw(*make_run(direction))
    axes = [axis for axis in figure.axes if axis.images]
    assert len(axes) == 3
    for axis in axes:
        assert in_mm(axis) == pytest.approx((18, -10.5))  # 4.5 columns of 4 mm to the left, 3.5 rows of 3 mm forward
        assert axis.get_aspect() == 1
        letters = {text.get_text(): text.get_position()[0] for text in axis.texts}
        assert letters["R"] < 0.1 and letters["L"] > 0.9
        for outline in axis.collections:
            x, y = outline.get_paths()[0].vertices.mean(axis=0)
            assert (x - 32, y - 30) == pytest.approx((18, -10.5), abs=1.5)


@pytest.mark.parametrize("draw", FIGURES)
def test_pictures_without_a_direction_have_no_letters_and_lie_as_they_are(make_run, draw) -> None:
    figure = draw(*make_run(png=True))
    for axis in (axis for axis in figure.axes if axis.images):
        assert not axis.texts
        assert in_mm(axis) == pytest.approx((4.5, -3.5))


@pytest.mark.parametrize("reader", [NibabelIO, NibabelIOWithReorient, SimpleITKIO])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_view_is_the_same_whichever_reader_reads(tmp_path, direction, reader) -> None:
    image, _ = volumes()
    sitk.WriteImage(oriented(image, direction), str(tmp_path / "image.nii.gz"))
    array, properties = reader().read_images([str(tmp_path / "image.nii.gz")])
    view = AnatomicalView.of(properties)
    np.testing.assert_array_equal(view.turn(array[0]), image)
    assert view.turn_spacing(properties["spacing"]) == pytest.approx(SPACING[::-1]) and view.sides == ("R", "L")


class TestOverlaysSection:
    @pytest.mark.parametrize(("targets", "last"), [(4, "t3: "), (5, "and 1 more target"), (8, "and 4 more targets")])
    def test_shared_targets_that_are_not_listed_are_counted(self, make_run, targets, last) -> None:
        run, content = make_run()
        scores = content["cases"][0]["targets"]["lesion"]
        content["cases"][0]["targets"] = {f"t{n}": scores for n in range(targets)}
        figure = overlays_section(run, content).pictures[0].figure
        heading = next(axis for axis in figure.axes if not axis.images).texts[0].get_text()
        assert heading.split("\n")[-1].startswith(last) and len(heading.split("\n")) == 1 + min(targets, 5)

    def test_without_nnunet_raw_the_text_says_so_and_names_the_cases(self, make_run) -> None:
        run, content = make_run()
        section = overlays_section(replace(run, layout=replace(run.layout, raw=None)), content)
        assert not section.pictures
        assert "nnUNet_raw" in section.text[-1] and "case_1 (1.000)" in section.text[-1]

    def test_missing_channel_is_named(self, make_run) -> None:
        run, content = make_run()
        (run.layout.raw / "imagesTr" / "case_1_0001.nii.gz").unlink()
        assert "case_1_0001.nii.gz: no such file" in overlays_section(run, content).text[-1]

    @pytest.mark.parametrize(
        ("dice", "expected"),
        [
            ([0.2], {"only case": 0}),
            ([0.2, 0.9], {"best": 1, "worst": 0}),
            ([0.5, 0.9, 0.1, 0.6], {"best": 1, "median": 0, "worst": 2}),
            ([0.5, None, 0.1, 0.6], {"best": 3, "median": 0, "worst": 2}),
        ],
    )
    def test_best_median_and_worst(self, dice, expected) -> None:
        cases = [{"case": n, "targets": {"a": {"dice": d}, "b": {"dice": None}}} for n, d in enumerate(dice)]
        chosen = chosen_cases(ranked_cases(cases))
        assert {name: case["case"] for name, (_, case) in chosen.items()} == expected
