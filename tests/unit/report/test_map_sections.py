"""The sections on perception and attention, of folds whose cases and networks are made up."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from matplotlib.colors import to_hex
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import nn

from nnunet_mgcl.data.layout import DatasetLayout
from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.pictures.overlay import REFERENCE_COLOUR
from nnunet_mgcl.plan.build import build_network
from nnunet_mgcl.plan.plans import resolve_block
from nnunet_mgcl.report.analysis.attention_section import attention_section
from nnunet_mgcl.report.analysis.fold_case import FoldCase, _spacing, choose_case
from nnunet_mgcl.report.analysis.perception_section import perception_section
from nnunet_mgcl.report.analysis.trained_fold import TrainedFold

NAME = "Dataset901_Tiny"
MASKS = {
    "labels": {"background": 0, "A": 1, "B": 2, "A+B": 3},
    "mgcl": {"modalities": {"A": [0, 2], "B": [1]}, "lesion_labels": {"A": [1, 3], "B": [2, 3]}},
}
GROUPS = {"mgcl": {"modalities": {"A": [0, 2], "B": [1]}}}
LABELS = {
    "masks": MASKS,
    "shared": GROUPS,
    "ignore": GROUPS | {"labels": {"background": 0, "lesion": 1, "ignore": 2}},
    "regions": GROUPS | {"labels": {"background": 0, "whole": [1, 2], "core": [2]}, "regions_class_order": [1, 2]},
    "single": {"channel_names": {"0": "DWI"}, "mgcl": {"modalities": {"DWI": [0]}}},
}
LESION = (15.0, -15.0, 15.0)
"""Middle of the lesion in mm from that of the image: to the patient's left, to the front and up (LPS)."""
SMALL = {"seed": 1, "coarse": 1}

AXIAL, FLIPPED = np.eye(3), np.diag([-1.0, -1.0, 1.0])
CORONAL = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]]).T
SAGITTAL = np.array([[0, 1.0, 0], [0, 0, -1.0], [1.0, 0, 0]]).T


def write_case(
    raw: Path, case: str, channels: int, label: int, direction: np.ndarray, size: int = 3, ignored: int | None = None
) -> None:
    """Noise with a bright cube of `size` voxels a side at LESION; a border of zeros on one side is cropped away.

    In the bit mask A is 1 and B is 2; only the channels of a modality that has the lesion show it.
    """
    random = np.random.default_rng(int(case[-1]))
    shape, spacing = np.array((20, 24, 28)), 3.0
    indices = np.stack(np.indices(shape)[::-1], axis=-1)  # x, y, z
    places = (indices - (shape[::-1] - 1) / 2) * spacing @ direction.T
    lesion = (np.abs(places - LESION) <= size * spacing / 2).all(axis=-1)
    labels = (lesion * label).astype(np.uint8)
    if ignored:
        labels[:2] = ignored
    bright = [bool(label & own) for own in (1, 2, 1)]  # the channels of A, B and A
    arrays = [(random.normal(10, 1, shape) + 30 * lesion * own).astype(np.float32) for own in bright[:channels]]
    for number, array in enumerate([*arrays, labels]):
        if number < channels:
            array[:, :, :3] = 0
        image = sitk.GetImageFromArray(array)
        image.SetSpacing([spacing] * 3)
        image.SetDirection(direction.ravel().tolist())
        folder = "imagesTr" if number < channels else "labelsTr"
        name = f"{case}_{number:04}.nii.gz" if number < channels else f"{case}.nii.gz"
        (raw / folder).mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(image, str(raw / folder / name))


@pytest.fixture
def make_fold(tmp_path, plans, dataset_json):
    """Makes a fold with random weights; its `network` is given to it as a checkpoint would.

    `cases`: label of the lesion of each validation case. `tss`: keys of its block, None without a head.
    """

    def make(
        labels="masks", cases=None, *, dimensions=2, tss=None, head=True, trained=True, known=True, direction=AXIAL,
        transpose=(0, 1, 2), patch=32, size=3,
    ) -> TrainedFold:  # fmt: skip
        content, json_content = deepcopy(plans), {**deepcopy(dataset_json), **LABELS[labels]}
        cases = (
            {"case_0": max(v for v in json_content["labels"].values() if isinstance(v, int))}
            if cases is None
            else cases
        )
        channels = len(json_content["channel_names"])
        name = "2d" if dimensions == 2 else "3d_fullres"
        configuration = content["configurations"][name]
        configuration["patch_size"] = [patch] * dimensions
        configuration["spacing"] = [3.0] * dimensions
        configuration["normalization_schemes"] = ["NoNormalization"] * channels
        configuration["use_mask_for_norm"] = [False] * channels
        content |= {"transpose_forward": list(transpose), "transpose_backward": np.argsort(transpose).tolist()}
        content["original_median_shape_after_transp"] = [24, 32, 32]
        configuration["mgcl"] = {"tss": {"head": "mrff", "grid": 2, **(tss or {})}}
        config = resolve_block(content, name, json_content, tss_known=head)
        configuration["mgcl"] = config.model_dump(mode="json")

        layout = DatasetLayout(NAME, None, tmp_path / "pre" / NAME)
        model = tmp_path / "res" / f"MGCLTrainer__nnUNetPlans__{name}"
        model.mkdir(parents=True)
        manager = PlansManager(content)
        data = layout.preprocessed / configuration["data_identifier"]
        data.mkdir(parents=True)
        for case, label in cases.items():
            ignored = json_content["labels"].get("ignore")
            write_case(tmp_path / "raw", case, channels, label, direction, size, ignored)
            files = [str(tmp_path / "raw" / "imagesTr" / f"{case}_{number:04}.nii.gz") for number in range(channels)]
            truth = str(tmp_path / "raw" / "labelsTr" / f"{case}.nii.gz")
            arguments = (manager, manager.get_configuration(name), json_content)
            DefaultPreprocessor(verbose=False).run_case_save(str(data / case), files, truth, *arguments)
        if known:
            rows = [f"{case},{number % 2}" for number, case in enumerate(cases)]
            layout.tss.write_text("\n".join(["case,tss_class", *rows, ""]))
        for file, written in (("plans", content), ("dataset", json_content)):
            (model / f"{file}.json").write_text(json.dumps(written))
        run = ValidatedRun(layout, model, [{"train": [], "val": list(cases)}], [0])
        fold = TrainedFold(run, 0, torch.device("cpu"))
        torch.manual_seed(0)
        heads = manager.get_label_manager(json_content).num_segmentation_heads
        network = build_network(manager.get_configuration(name), heads, deep_supervision=False).eval()
        if network.tss is not None:
            network.tss.trained.fill_(trained)
        fold.__dict__["network"] = network
        return fold

    return make


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


def text_of(section) -> str:
    tables = [
        " ".join((table.caption, *table.columns, *(cell for row in table.rows for cell in row)))
        for table in section.tables
    ]
    pictures = [f"{picture.caption} {picture.alt}" for picture in section.pictures]
    return "\n".join((*section.text, *tables, *pictures))


def draw(section) -> str:
    """Draws the section's figures; returns all its words."""
    for picture in section.pictures:
        picture.figure.savefig(Path("/dev/null"), format="png", dpi=30)
    words = text_of(section)
    assert "nan" not in words.lower().split() and "None" not in words
    return words


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
DIRECTIONS = {"axial": AXIAL, "flipped": FLIPPED, "coronal": CORONAL, "sagittal": SAGITTAL}


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
    def test_most_modalities_come_before_the_volume(self, make_fold):
        fold = make_fold(cases={"case_0": 1, "case_1": 0, "case_2": 3, "case_3": 2})
        assert choose_case(fold) == "case_2"

    def test_median_volume(self, make_fold, monkeypatch):
        fold = make_fold(cases={"case_0": 1, "case_1": 1, "case_2": 1, "case_3": 0})
        volumes = {"case_0": [9.0, 0.0], "case_1": [2.0, 0.0], "case_2": [0.0, 4.0], "case_3": [0.0, 0.0]}
        monkeypatch.setattr("nnunet_mgcl.report.analysis.fold_case._lesion_volumes", lambda _, case: volumes[case])
        assert choose_case(fold) == "case_2"
        volumes["case_2"] = [1.0, 1.0]
        assert choose_case(fold) == "case_2"
        volumes["case_1"] = [3.0, 3.0]
        assert choose_case(fold) == "case_2"  # of two in the middle the smaller one

    def test_without_a_lesion_it_is_the_first(self, make_fold):
        assert choose_case(make_fold(cases={"case_0": 0, "case_1": 0})) == "case_0"


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
        assert _spacing(ValidatedRun.of_model(tmp_path / f"T__P__{name}"), {"spacing": [1.0, 2.0, 5.0]}) == expected


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
        words = draw(section)
        assert "B: 2 of 3 validation cases have no lesion in this modality" in words
        assert "No encoder “after coarse” for A, B: phases/coarse was removed" in words

    @pytest.mark.parametrize("labels", ["shared", "ignore", "regions", "single"])
    def test_masks_that_modalities_share(self, make_fold, labels):
        section = perception_section(make_fold(labels, cases={"case_0": 1, "case_1": 0}))
        assert {row[1] for row in section.tables[0].rows} == {"1"}
        draw(section)

    def test_without_any_lesion_or_tss_there_are_pictures_and_no_number(self, make_fold):
        fold = make_fold(cases={"case_0": 0}, known=False)
        for section in (perception_section(fold), attention_section(fold)):
            assert not section.tables and not section.pictures[0].figure.legends
            assert "no validation case has a lesion" in draw(section)
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
        draw(section)


class TestAttentionSection:
    def test_table_is_the_mean_over_cases_with_a_tss(self, make_fold):
        fold = make_fold(cases={"case_0": 3, "case_1": 1})
        section = attention_section(fold)
        (table,) = section.tables
        assert table.columns == ("attending", "to A", "to B") and [row[0] for row in table.rows] == ["A", "B"]
        for row in table.rows:
            assert sum(float(cell.split(" ± ")[0]) for cell in row[1:]) == pytest.approx(1, abs=2e-3)
        assert "the 2 validation cases of fold 0" in draw(section)

    @pytest.mark.parametrize("labels", ["shared", "ignore", "regions"])
    @pytest.mark.parametrize("dimensions", [2, 3])
    def test_every_kind_of_label_and_network(self, make_fold, labels, dimensions):
        draw(attention_section(make_fold(labels, cases={"case_0": 1, "case_1": 0}, dimensions=dimensions)))

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
        assert reason in draw(section)

    def test_head_that_sees_some_modalities_in_another_order(self, make_fold):
        fold = make_fold(cases={"case_0": 1}, tss={"modalities": ["B", "A"]})
        let_see(fold)
        section = attention_section(fold)
        assert section.tables[0].columns == ("attending", "to B", "to A")
        panels = section.pictures[0].figure.axes[:4]
        assert [bool(lesions_of(panel)) for panel in panels] == [False, True, False, True]  # only A has a lesion
