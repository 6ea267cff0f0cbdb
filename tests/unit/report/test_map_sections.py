"""The sections on perception and attention, of folds whose cases and networks are made up."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from torch import nn

from nnunet_mgcl.data.cases.labelled import case_spacing
from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.pictures.overlay import REFERENCE_COLOUR
from nnunet_mgcl.report.analysis.attention_section import attention_section
from nnunet_mgcl.report.analysis.fold_case import FoldCase, choose_case
from nnunet_mgcl.report.analysis.perception_section import perception_section
from nnunet_mgcl.report.analysis.trained_fold import TrainedFold
from tests.sections import words_of
from tests.unit.report.lesion_fold import AXIAL, lesion_fold


@pytest.fixture
def make_fold(tmp_path, plans, dataset_json):
    return partial(lesion_fold, tmp_path, plans, dataset_json)


class Lens(nn.Module):
    """An encoder that sees what is bright, at every 1st, 2nd and 4th voxel."""

    def __init__(self, conv_op: type[nn.Module]) -> None:
        super().__init__()
        self.conv_op = conv_op

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        bright = (x[:, :1] > 25).float()
        return [bright[(..., *[slice(None, None, step)] * (x.ndim - 2))] for step in (1, 2, 4)]


def let_see(fold: TrainedFold) -> None:
    """Puts lenses before the branches, and a head behind them that attends to what is bright."""
    for branch in fold.network.branches:
        branch.encoder = Lens(branch.encoder.conv_op)
    head = fold.network.tss.head
    head.query.data.fill_(3.0)
    head.key.data.fill_(3.0)


def lesions_of(axis) -> list:
    """The outlines of lesions in a panel."""
    return [c for c in axis.collections if to_hex(c.get_edgecolor()[0]) == REFERENCE_COLOUR]


def outlined(axis) -> np.ndarray:
    """Row and column of the middle of the outline in a panel."""
    (contour,) = lesions_of(axis)
    _, width, height, _ = axis.images[0].get_extent()
    rows, columns = axis.images[0].get_array().shape
    x, y = contour.get_paths()[0].get_extents().get_points().mean(axis=0)
    return np.array([y / height * rows, x / width * columns]) - 0.5


def hottest(axis) -> np.ndarray:
    """Rows and columns of the voxels of a panel's map that are brightest (perceptually uniform: highest)."""
    colours = np.asarray(axis.images[1].get_array(), float)[..., :3] @ [0.2126, 0.7152, 0.0722]
    return np.argwhere(colours >= colours.max() - 1e-6)


TRANSPOSES = [(0, 1, 2), (2, 0, 1), (1, 2, 0), (0, 2, 1)]
DIRECTIONS = {
    "axial": AXIAL,
    "flipped": np.diag([-1.0, -1.0, 1.0]),
    "coronal": np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]]).T,
    "sagittal": np.array([[0, 1.0, 0], [0, 0, -1.0], [1.0, 0, 0]]).T,
}


@pytest.mark.parametrize("transpose", TRANSPOSES, ids=str)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_lesion_perception_and_attention_turn_together_to_the_right_side(make_fold, direction, transpose):
    fold = make_fold(direction=DIRECTIONS[direction], transpose=transpose, cases={"case_0": 1}, size=4)
    let_see(fold)
    perception, attention = perception_section(fold), attention_section(fold)
    assert len(perception.pictures[0].figure.legends) == len(attention.pictures[0].figure.legends) == 1
    panels = perception.pictures[0].figure.axes[:10]  # of two branches: the input, the random encoder and three stages
    shape = panels[0].images[0].get_array().shape
    letters = [text.get_text() for text in panels[0].texts]
    row, column = outlined(panels[0])
    assert letters in (["R", "L"], ["A", "P"])
    left = letters == ["R", "L"]
    assert column > shape[1] / 2 if left else column < shape[1] / 2  # LESION is on the patient's left, and in front
    assert row < shape[0] / 2  # and in front, or on top
    image = panels[0].images[0].get_array()
    assert np.abs(np.argwhere(image > 0.6).mean(axis=0) - (row, column)).max() < 0.1
    for stage, panel in enumerate(panels[2:5]):
        assert np.abs(hottest(panel).mean(axis=0) - (row, column)).max() <= 2 ** (stage - 1)
    assert not lesions_of(panels[5])  # modality B has no lesion

    panels = attention.pictures[0].figure.axes[:4]
    row, column = outlined(panels[0])
    region = hottest(panels[0])  # A attends to A most where A's lesion is
    assert (region.min(axis=0) <= (row, column)).all() and (region.max(axis=0) >= (row, column)).all()
    shape = panels[0].images[0].get_array().shape
    assert len(region) < np.prod(shape) / 2
    uneven = [len(np.unique(panel.images[1].get_array().reshape(-1, 4), axis=0)) > 1 for panel in panels]
    assert uneven == [True, True, False, False]  # B, which sees nothing, attends to both alike
    assert {text.get_text() for text in panels[0].texts} >= set(letters)


class TestChoice:
    @pytest.mark.parametrize(("lesions", "chosen"), [([1, 0, 3, 2], "case_2"), ([0, 0], "case_0")])
    def test_most_modalities_come_before_the_volume_and_no_lesion_is_none(self, make_fold, lesions, chosen):
        assert choose_case(make_fold(cases={f"case_{n}": lesion for n, lesion in enumerate(lesions)})) == chosen

    def test_median_volume(self, make_fold, monkeypatch):
        fold = make_fold(cases={"case_0": 1, "case_1": 1, "case_2": 1, "case_3": 0})
        volumes = {"case_0": [9.0, 0.0], "case_1": [2.0, 0.0], "case_2": [0.0, 4.0], "case_3": [0.0, 0.0]}
        monkeypatch.setattr("nnunet_mgcl.report.analysis.fold_case._lesion_volumes", lambda _, case: volumes[case])
        assert choose_case(fold) == "case_2"
        volumes["case_2"] = [1.0, 1.0]
        assert choose_case(fold) == "case_2"
        volumes["case_1"] = [3.0, 3.0]
        assert choose_case(fold) == "case_2"  # of two in the middle the smaller one


class TestCase:
    def test_ignored_voxels_are_neither_lesion_nor_head(self, make_fold):
        case = FoldCase.load(make_fold("ignore", cases={"case_0": 1}), "case_0")
        assert case.lesion.any() and not case.annotated[:2].any() and not case.lesion[:2].any()
        assert not (case.head(0) & ~case.annotated).any()

    @pytest.mark.parametrize(("labels", "label"), [("regions", 1), ("regions", 2), ("masks", 3), ("shared", 1)])
    def test_every_foreground_label_of_the_branch_is_lesion(self, make_fold, labels, label):
        case = FoldCase.load(make_fold(labels, cases={"case_0": label}), "case_0")
        assert [int(lesion.sum()) for lesion in case.lesions] == [64, 64]

    @pytest.mark.parametrize(("name", "expected"), [("2d", (5.0, 3.0, 2.0)), ("3d_fullres", (6.0, 3.0, 2.0))])
    def test_spacing_has_the_network_s_axes(self, plans, name, expected, tmp_path):
        plans["transpose_forward"] = [2, 0, 1]
        plans["configurations"][name]["spacing"] = list(expected[-2 if name == "2d" else -3 :])
        (tmp_path / f"T__P__{name}").mkdir()
        (tmp_path / f"T__P__{name}" / "plans.json").write_text(json.dumps(plans))
        run = ValidatedRun.of_model(tmp_path / f"T__P__{name}")
        found = case_spacing(run.plan.spacing, {"spacing": [1.0, 2.0, 5.0]}, run.plans.transpose_forward)
        assert found == expected


class TestPerceptionSection:
    def test_numbers_of_an_encoder_that_sees_the_lesion_are_perfect(self, make_fold):
        fold = make_fold(cases={"case_0": 1, "case_1": 3, "case_2": 0})
        let_see(fold)
        section = perception_section(fold)
        (table,) = section.tables
        assert table.columns == ("encoder", "n", "stage 1", "stage 2", "last stage")
        assert [row[:2] for row in table.rows] == [
            ("A, randomly initialised", "2"),
            ("A, trained", "2"),
            ("B, randomly initialised", "1"),
            ("B, trained", "1"),
        ]
        assert table.rows[1][2] == "1.00 ± 0.00" and table.rows[3][2] == "1.00"
        words = words_of(section)
        assert "B: 2 of 3 validation cases have no lesion in this modality" in words
        assert "No encoder “after coarse” for A, B: phases/coarse was removed" in words

    @pytest.mark.parametrize("dimensions", [2, 3])
    @pytest.mark.parametrize("labels", ["shared", "ignore", "regions", "single"])
    def test_masks_that_modalities_share(self, make_fold, labels, dimensions):
        fold = make_fold(labels, cases={"case_0": 1, "case_1": 0}, dimensions=dimensions)
        assert {row[1] for row in perception_section(fold).tables[0].rows} == {"1"}
        assert words_of(perception_section(fold)) and words_of(attention_section(fold))

    def test_without_any_lesion_or_tss_there_are_pictures_and_no_number(self, make_fold):
        fold = make_fold(cases={"case_0": 0}, known=False)
        for section in (perception_section(fold), attention_section(fold)):
            assert not section.tables and not section.pictures[0].figure.legends
            assert "no validation case has a lesion" in words_of(section)
        assert "No validation case of fold 0 has a known TSS" in section.text[1]

    def test_what_is_outside_the_head_does_not_count(self, make_fold, monkeypatch):
        fold = make_fold(cases={"case_0": 1})
        before = perception_section(fold).tables[0].rows
        half = np.arange(28)[None, None, :25] < 16
        head = FoldCase.head
        monkeypatch.setattr(FoldCase, "head", lambda case, branch: (head(case, branch) & half) | case.lesions[branch])
        assert perception_section(fold).tables[0].rows[0][2:] != before[0][2:]

    @pytest.mark.parametrize("patch", [16, 32])
    def test_3d_encoders(self, make_fold, patch):
        fold = make_fold(dimensions=3, patch=patch, cases={"case_0": 1})
        let_see(fold)
        section = perception_section(fold)
        assert section.tables[0].rows[1][2] == "1.00"
        panels = section.pictures[0].figure.axes[:10]
        for stage, panel in enumerate(panels[2:5]):
            assert np.abs(hottest(panel).mean(axis=0) - outlined(panels[0])).max() <= 2**stage
        words_of(section)


class TestAttentionSection:
    def test_table_is_the_mean_over_cases_with_a_tss(self, make_fold):
        fold = make_fold(cases={"case_0": 3, "case_1": 1})
        section = attention_section(fold)
        (table,) = section.tables
        assert table.columns == ("attending", "to A", "to B") and [row[0] for row in table.rows] == ["A", "B"]
        for row in table.rows:
            assert sum(float(cell.split(" ± ")[0]) for cell in row[1:]) == pytest.approx(1, abs=2e-3)
        assert "the 2 validation cases of fold 0" in words_of(section)

    @pytest.mark.parametrize(("slices", "size"), [(8, 3), (4, 1)], ids=["scaled", "made faint"])
    def test_lesion_that_is_scaled_into_the_head_s_frame_is_outlined_in_its_region(self, make_fold, slices, size):
        fold = make_fold(cases={"case_0": 1}, tss={"size": [16, 16], "slices": slices}, size=size)
        let_see(fold)
        panel = attention_section(fold).pictures[0].figure.axes[0]
        assert panel.images[0].get_array().shape == (16, 16)
        if size > 1:
            assert (hottest(panel).min(axis=0) <= outlined(panel)).all()
            assert (hottest(panel).max(axis=0) >= outlined(panel)).all()
        assert lesions_of(panel)

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"head": False, "known": False}, "no TSS head"),
            *(({"tss": {"head": head}}, f"is {head}; only mrff") for head in ("mlp", "transformer", "lesion")),
            ({"tss": {"head": "mrff_lesion"}}, "is mrff_lesion; only mrff"),
            ({"trained": False}, "is untrained"),
            ({"tss": {"modalities": ["B"]}}, "sees B alone"),
            ({"labels": "single", "cases": {"case_0": 1}}, "sees DWI alone"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_reason_stands_where_there_is_nothing_to_show(self, make_fold, options, reason):
        section = attention_section(make_fold(**options))
        assert not section.pictures and not section.tables
        assert reason in words_of(section)

    def test_head_that_sees_some_modalities_in_another_order(self, make_fold):
        fold = make_fold(cases={"case_0": 1}, tss={"modalities": ["B", "A"]})
        let_see(fold)
        section = attention_section(fold)
        assert section.tables[0].columns == ("attending", "to B", "to A")
        panels = section.pictures[0].figure.axes[:4]
        assert [bool(lesions_of(panel)) for panel in panels] == [False, True, False, True]  # only A has a lesion
