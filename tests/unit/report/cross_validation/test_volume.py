from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nnunet_mgcl.report.cross_validation.volume import median_line, volume_section


def make_case(name: str, volume: float = 1.0, predicted: float = 1.0, dice: float | None = 0.5) -> dict[str, Any]:
    """A case of the target `lesion`."""
    return {"case": name, "targets": {"lesion": {"dice": dice, "volume_ml": volume, "predicted_volume_ml": predicted}}}


def section_of(*cases):
    return volume_section({"cases": list(cases), "segmentation": {"lesion": {}}})


def test_cases_without_lesion_are_told_in_words() -> None:
    false = [make_case("a", 0.0, 3.0, dice=0.0), make_case("b", 0.0, 1.0, dice=0.0)]
    (text,) = section_of(*false, make_case("c", 0.0, 0.0, dice=None), make_case("d")).text
    assert "3 cases without lesion left out of the figure; a lesion was predicted in 2 of them (median 2.00 ml)" in text


def test_without_any_lesion_there_is_no_figure_but_a_reason() -> None:
    section = section_of(make_case("a", 0.0, 0.0, dice=None))
    assert not section.pictures
    (text,) = section.text
    assert "so there is no figure; a lesion was predicted in none of them." in text


@pytest.mark.parametrize(("cases", "bins"), [(5, 0), (11, 0), (12, 2), (29, 4), (200, 5)])
def test_medians_are_of_enough_cases(cases, bins) -> None:
    assert len(median_line(np.arange(1.0, cases + 1), np.linspace(0, 1, cases))) == bins


def test_medians_are_those_of_neighbours_in_volume() -> None:
    volumes = np.array([6.0, 50, 4, 30, 2, 10, 60, 5, 40, 3, 20, 1])
    assert median_line(volumes, volumes / 100).tolist() == [[3.5, 0.035], [35.0, 0.35]]


def test_names_that_no_file_can_have_become_names_of_files() -> None:
    cases = [make_case("a")]
    for name in ("A/B", "A B"):
        cases[0]["targets"][name] = cases[0]["targets"]["lesion"]
    section = volume_section({"cases": cases, "segmentation": {"A/B": {}, "A B": {}}})
    assert [picture.name for picture in section.pictures] == ["dice_per_volume_1_A_B", "dice_per_volume_2_A_B"]


def test_single_slices_have_no_figure_but_a_reason() -> None:
    section = section_of(make_case("a", None, None), make_case("b", None, None, dice=None))
    assert not section.pictures
    assert section.text == ("lesion: no volumes, the images are single slices without a thickness.",)
