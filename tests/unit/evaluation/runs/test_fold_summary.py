from __future__ import annotations

import json
from copy import deepcopy

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_mgcl.data.layout import DatasetLayout, FoldLayout
from nnunet_mgcl.engine.training_warnings import TrainingWarning, TrainingWarnings
from nnunet_mgcl.evaluation.runs import fold_summary
from nnunet_mgcl.evaluation.runs.fold_summary import draw_fold, summarise_fold
from nnunet_mgcl.plan.plans import resolve_block
from nnunet_mgcl.system.errors import UserError

SIZES = {"case_0": 30, "case_1": 5, "case_2": 0, "case_3": 90}
"""Lesion voxels of each validation case."""


def write_image(path, array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))


@pytest.fixture
def make_fold(tmp_path, plans, dataset_json):
    """A validated fold: the dataset's layout and the model's folder."""

    def make(labels=None, mean=None, by_modality=None, tss=None, mgcl=None, more=None):
        layout = DatasetLayout(plans["dataset_name"], tmp_path / "raw", tmp_path / "preprocessed")
        model = tmp_path / "MGCLTrainer__nnUNetPlans__2d"
        validation = model / "fold_0" / "validation"
        json_content = (
            dataset_json | (more or {}) | ({"labels": labels} if labels else {}) | ({"mgcl": mgcl} if mgcl else {})
        )
        content = deepcopy(plans)
        block = resolve_block(content, "2d", json_content, tss_known=False).model_dump(mode="json")
        content["configurations"]["2d"]["mgcl"] = block
        mask = np.zeros((2, 8, 8), np.uint8)
        for case, size in SIZES.items():
            mask[:] = 0
            mask.flat[:size] = 1
            write_image(validation / f"{case}.nii.gz", mask[:, ::-1])
            write_image(layout.raw / "labelsTr" / f"{case}.nii.gz", mask)
            for channel in range(3):
                write_image(layout.raw / "imagesTr" / f"{case}_{channel:04}.nii.gz", np.full((2, 8, 8), 1.0 + channel))
        files = {
            "summary.json": {"mean": mean or {"1": {"Dice": 0.5}}},
            "summary_modalities.json": by_modality and {"mean": by_modality},
            "tss_summary.json": tss,
        }
        for name, file in files.items():
            if file:
                (validation / name).write_text(json.dumps(file))
        (model / "dataset.json").write_text(json.dumps(json_content))
        (model / "plans.json").write_text(json.dumps(content))
        return layout, model

    return make


class TestSummary:
    def test_shared_labels_have_their_names(self, make_fold) -> None:
        summary = summarise_fold(make_fold(mean={"1": {"Dice": 0.5, "IoU": 0.1}})[1], "0")
        assert summary.dice == {"lesion": 0.5}
        assert summary.tss is None
        assert summary.segmentation.name == "case_0.nii.gz"

    def test_regions_have_their_names_also_where_they_are_of_one_label(self, make_fold) -> None:
        labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": [3], "edge": 2}
        classes = {"regions_class_order": [2, 1, 3, 2]}
        mean = {"(1, 2, 3)": {"Dice": 0.9}, "(2, 3)": {"Dice": 0.8}, "(3,)": {"Dice": 0.7}, "2": {"Dice": 0.6}}
        summary = summarise_fold(make_fold(labels=labels, mean=mean, more=classes)[1], "0")
        assert summary.dice == {"whole": 0.9, "core": 0.8, "enhancing": 0.7, "edge": 0.6}

    def test_each_modality_s_own_lesion_goes_before_combinations(self, make_fold) -> None:
        summary = summarise_fold(make_fold(by_modality={"DWI": 0.7, "PWI": None})[1], "0")
        assert summary.dice == {"DWI": 0.7, "PWI": None}

    def test_tss_is_taken_along(self, make_fold) -> None:
        assert summarise_fold(make_fold(tss={"ACC": 0.8})[1], "0").tss == {"ACC": 0.8}

    def test_warnings_of_the_training_are_taken_along(self, make_fold) -> None:
        model = make_fold()[1]
        assert summarise_fold(model, "0").warnings == []
        warning = TrainingWarning("coarse", "DWI", "at chance", "train it longer")
        TrainingWarnings(FoldLayout(model / "fold_0").warnings, print).replace("coarse", "DWI", [warning])
        assert summarise_fold(model, "0").warnings == [warning]

    def test_fold_without_validation_is_refused_with_the_remedy(self, make_fold) -> None:
        with pytest.raises(UserError, match=r"fold_1[\s\S]*--val"):
            summarise_fold(make_fold()[1], "1")


class TestPicture:
    @pytest.fixture
    def rows(self, monkeypatch):
        """What would be drawn."""
        seen = []
        monkeypatch.setattr(
            fold_summary,
            "draw_overlay",
            lambda path, cases, title: seen.extend((case.title, case.panels) for case in cases),
        )
        return seen

    @pytest.mark.parametrize(
        ("cases", "expected"),
        [(3, ["case_2", "case_0", "case_3"]), (1, ["case_2"]), (9, ["case_2", "case_1", "case_0", "case_3"])],
    )
    def test_cases_are_chosen_from_small_to_large(self, make_fold, rows, tmp_path, cases, expected) -> None:
        draw_fold(*make_fold(), "0", tmp_path / "x.png", cases)
        assert [name for name, _ in rows] == expected

    def test_panels_show_each_modality_s_first_channel_with_both_masks(self, make_fold, rows, tmp_path) -> None:
        draw_fold(*make_fold(mgcl={"modalities": {"B": [2, 0], "A": [1]}}), "0", tmp_path / "x.png")
        panels = dict(rows)["case_0"]
        assert [(panel.title, panel.image.max()) for panel in panels] == [("B", 3), ("A", 2)]
        assert all(panel.references[0].sum() == panel.predictions[0].sum() == 30 for panel in panels)
        assert not np.array_equal(panels[0].references[0], panels[0].predictions[0])

    def test_panels_show_each_modality_s_own_lesion(self, make_fold, rows, tmp_path) -> None:
        labels = {"background": 0, "A": 1, "B": 2, "A+B": 3}
        mgcl = {"modalities": {"A": [0, 2], "B": [1]}, "lesion_labels": {"A": [1, 3], "B": [2, 3]}}
        draw_fold(*make_fold(labels=labels, mgcl=mgcl), "0", tmp_path / "x.png")
        a, b = dict(rows)["case_0"]
        assert a.references[0].sum() == a.predictions[0].sum() == 30
        assert b.references[0].sum() == b.predictions[0].sum() == 0

    def test_without_the_raw_dataset_there_is_nothing_to_draw(self, make_fold, tmp_path) -> None:
        layout, model = make_fold()
        elsewhere = DatasetLayout(layout.name, None, layout.preprocessed)
        with pytest.raises(UserError, match="nnUNet_raw"):
            draw_fold(elsewhere, model, "0", tmp_path / "x.png")
