from __future__ import annotations

import shutil

import pytest
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_mgcl.data.cases.labelled import check_cases, preprocessed_cases
from nnunet_mgcl.system.errors import UserError

CASES = [f"case_{number}" for number in range(6)]
LABELS = {
    "shared": {"labels": {"background": 0, "lesion": 1}},
    "ignore": {"labels": {"background": 0, "a": 1, "b": 2, "ignore": 3}},
    "regions": {"labels": {"background": 0, "whole": [1, 2], "core": [2]}, "regions_class_order": [1, 2]},
    "regions, ignore": {
        "labels": {"background": 0, "whole": [1, 2, 3], "core": 3, "ignore": 4},
        "regions_class_order": [1, 3],
    },
}


@pytest.fixture
def folder(tiny_dataset):
    return tiny_dataset.preprocessed / "nnUNetPlans_2d"


class TestPreprocessedCases:
    def test_names_are_sorted_and_folders_do_no_harm(self, tiny_dataset, plans, folder):
        (folder / "old").mkdir()
        assert preprocessed_cases(tiny_dataset, plans, "2d_heir") == CASES

    def test_old_numpy_folder_with_unpacked_files(self, tiny_dataset, plans, folder):
        shutil.rmtree(folder)
        folder.mkdir()
        for name in ("a.npz", "a.npy", "a_seg.npy", "a.pkl", "b.npz", "b.pkl"):
            (folder / name).touch()
        assert preprocessed_cases(tiny_dataset, plans, "2d") == ["a", "b"]

    @pytest.mark.parametrize("name", ["notes.txt", "case_0.npz", "case_0.b2nd.part"])
    def test_stray_file_is_refused_by_name(self, tiny_dataset, plans, folder, name):
        (folder / name).touch()
        with pytest.raises(UserError) as error:
            preprocessed_cases(tiny_dataset, plans, "2d")
        assert error.value.where == str(folder / name)


class TestCheckCases:
    @pytest.mark.parametrize("labels", LABELS)
    def test_what_nnunet_preprocesses_passes_with_its_own_labels_only(
        self, tiny_dataset, plans, dataset_json, folder, labels
    ):
        own = {**dataset_json, **LABELS[labels]}
        manager = PlansManager(plans)
        shutil.rmtree(folder)
        folder.mkdir()
        DefaultPreprocessor(verbose=False).run_case_save(
            str(folder / "case_0"),
            [str(tiny_dataset.raw / "imagesTr" / f"case_0_{channel:04}.nii.gz") for channel in range(3)],
            str(tiny_dataset.raw / "labelsTr" / "case_0.nii.gz"),
            manager,
            manager.get_configuration("2d"),
            own,
        )
        check_cases(tiny_dataset, plans, "2d", own, ["case_0"])
        for other in LABELS.values():
            if other != LABELS[labels]:
                with pytest.raises(UserError, match="preprocessed with labels"):
                    check_cases(tiny_dataset, plans, "2d", {**dataset_json, **other}, ["case_0"])

    def test_another_number_of_channels_is_refused(self, tiny_dataset, plans, masks_json):
        masks_json["channel_names"]["3"] = "ADC"
        with pytest.raises(UserError, match=r"case_0\n +found: +3 channels[\s\S]*4 channels"):
            check_cases(tiny_dataset, plans, "2d", masks_json, CASES)
