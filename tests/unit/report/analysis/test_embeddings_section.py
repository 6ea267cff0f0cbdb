from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest

from nnunet_mgcl.pretraining.monitor.neighbours import neighbour_accuracy
from nnunet_mgcl.report.analysis import embeddings, embeddings_figure
from nnunet_mgcl.report.analysis import embeddings_section as module
from nnunet_mgcl.report.analysis.embeddings_section import COLUMNS, embeddings_section
from nnunet_mgcl.report.page.style import figure_style
from tests.sections import words_of
from tests.unit.report.conftest import embed

LAY_OUT = embeddings_figure.lay_out


@pytest.fixture(autouse=True)
def plain_layout(monkeypatch) -> None:
    """t-SNE takes a second a panel; where it is to be seen, `real_layout` brings it back."""
    monkeypatch.setattr(embeddings_figure, "lay_out", lambda representations: representations[:, :2])


@pytest.fixture
def real_layout(monkeypatch, plain_layout) -> None:
    monkeypatch.setattr(embeddings_figure, "lay_out", LAY_OUT)


def test_table_and_titles_have_the_neighbours_numbers(make_fold) -> None:
    fold = make_fold()
    section = embeddings_section(fold)
    assert [picture.name for picture in section.pictures] == ["embeddings_coarse", "embeddings_fine"]
    assert "3 of 3 validation cases of fold 0, 18 slices" in section.text[0]
    for phase, table, picture in zip(("coarse", "fine"), section.tables, section.pictures, strict=True):
        rows = iter(table.rows)
        assert table.columns == COLUMNS and len(picture.figure.axes) == len(table.rows) == 9
        titles = {axis.get_title() for axis in picture.figure.axes}
        for branch in fold.branches:
            cloud = embed(fold, branch, phase)
            lesions, samples = int(cloud.lesion.sum()), len(cloud.lesion)
            for stage, representations in cloud.representations.items():
                score = neighbour_accuracy(representations, cloud.lesion, cloud.patients)
                largest = max(lesions, samples - lesions) / samples
                chance = [f"{mean:.2f} ± {sd:.2f}" for mean, sd in (score.balanced_by_chance, score.plain_by_chance)]
                numbers = (f"{score.balanced:.2f}", chance[0], f"{score.plain:.2f}", chance[1], f"{largest:.2f}")
                assert next(rows) == (branch.name, stage, *numbers, str(samples), str(lesions), "3")
                assert f"{branch.name}, kNN {score.balanced:.2f}" in titles


def test_panels_show_every_sample_of_their_branch_and_stage(make_fold) -> None:
    fold = make_fold()
    figure = embeddings_section(fold).pictures[1].figure
    for column, branch in enumerate(fold.branches):
        cloud = embed(fold, branch, "fine")
        for row, representations in enumerate(cloud.representations.values()):
            points = [own.get_offsets() for own in figure.axes[3 * row + column].collections if len(own.get_offsets())]
            for drawn, lesion in zip(points, (False, True), strict=True):
                np.testing.assert_array_equal(drawn, representations[cloud.lesion == lesion, :2])


def test_same_fold_gives_the_same_section_and_pictures(make_fold, real_layout, monkeypatch) -> None:
    monkeypatch.setattr(embeddings, "MAX_POINTS", 40)
    fold, seen = make_fold(phases=("coarse", "fine"), skipped=("coarse/DWI", "fine/DWI", "coarse/PWI")), []
    for _ in range(2):
        section, pictures = embeddings_section(fold), []
        for picture in section.pictures:
            file = io.BytesIO()
            with figure_style():
                picture.figure.savefig(file, format="png", dpi=50)
            pictures.append(file.getvalue())
        seen.append((replace(section, pictures=()), pictures))
    assert seen[0] == seen[1] and len(seen[0][1]) == 2


def test_skipped_branches_are_named_and_the_others_shown(make_fold) -> None:
    section = embeddings_section(make_fold(skipped=("coarse/DWI",)))
    assert "DWI: coarse was skipped, its cases held a single class; nothing was trained." in section.text
    coarse, fine = ({row[0] for row in table.rows} for table in section.tables)
    assert (coarse, fine) == ({"FLAIR", "PWI"}, {"DWI", "FLAIR", "PWI"})
    assert len(section.pictures[0].figure.axes) == 6


@pytest.mark.parametrize("phases", [("coarse",), ()], ids=["coarse alone", "none"])
def test_phases_whose_weights_are_gone_have_a_reason(make_fold, phases) -> None:
    section = embeddings_section(make_fold(phases=phases))
    assert [picture.name for picture in section.pictures] == [f"embeddings_{phase}" for phase in phases]
    assert len(section.tables) == len(phases)
    assert sum("was removed" in text for text in section.text) == 2 - len(phases)


def test_single_patient_has_pictures_but_no_number(make_fold) -> None:
    section = embeddings_section(make_fold(cases=("case_0", "case_1"), patients={"case_0": "p", "case_1": "p"}))
    assert "PWI: no kNN accuracy of fine, the samples are of a single patient." in section.text
    assert {row[2:6] for table in section.tables for row in table.rows} == {("undefined",) * 4}
    assert {axis.get_title() for axis in section.pictures[0].figure.axes} == {"DWI", "FLAIR", "PWI"}
    assert "kNN balanced accuracy: undefined" in section.pictures[0].alt
    words_of(section)


def test_too_few_samples_are_said_to_be_too_few(make_fold, real_layout) -> None:
    section = embeddings_section(make_fold(cases=("case_0",), skipped=("fine/DWI", "fine/FLAIR", "fine/PWI")))
    assert words_of(section).count("too few samples\nto draw (6)") == 9


@pytest.mark.parametrize("fill", [0, 7, 8], ids=["no lesion", "lesion everywhere", "nothing annotated"])
def test_samples_of_one_class_have_no_number(make_fold, monkeypatch, fill) -> None:
    fold = make_fold(labels={"labels": {**{str(n): n for n in range(1, 8)}, "background": 0, "ignore": 8}})
    dataset = fold.dataset(fold.branches[0])
    load = type(dataset).load_case

    def filled(self, case):
        image, mask, *rest = load(self, case)
        return image, np.full_like(mask[:], {0: 0, 7: 1, 8: 2}[fill]), *rest

    monkeypatch.setattr(type(dataset), "load_case", filled)
    section = embeddings_section(fold)
    reason = {0: "no sample shows a lesion", 7: "every sample shows a lesion", 8: "there is no annotated sample"}[fill]
    assert sum(reason in text for text in section.text) == 6
    assert words_of(section) and len(section.pictures) == 2


def test_drawn_samples_are_counted_in_words(make_fold, monkeypatch) -> None:
    monkeypatch.setattr(embeddings, "MAX_POINTS", 30)
    monkeypatch.setattr(module, "MAX_POINTS", 30)
    fold = make_fold()
    cloud = embed(fold, fold.branches[0], "fine")
    samples, lesions = cloud.available
    which = "all" if lesions <= 15 else "15 of the"
    line = f"DWI: of {samples} samples of fine, {which} {lesions} with lesion were taken, and others at random up to 30"
    assert any(text.startswith(line) for text in embeddings_section(fold).text)
