"""By what a preprocessed case is known again when a training goes on."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import SimpleITK as sitk
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_mgcl.training.run_inputs import _fingerprint


@pytest.fixture
def again(tiny_dataset, plans, masks_json):
    """Changes a voxel of a raw file of case_0, preprocesses the case again and returns its fingerprint."""
    folder, manager = tiny_dataset.preprocessed / "nnUNetPlans_2d", PlansManager(plans)
    trainer = SimpleNamespace(dataset_class=nnUNetDatasetBlosc2, labelled_folder=str(folder))
    images = [tiny_dataset.raw / "imagesTr" / f"case_0_{channel:04}.nii.gz" for channel in range(3)]
    mask = tiny_dataset.raw / "labelsTr" / "case_0.nii.gz"

    def again(changed=None):
        path = {"image": images[0], "mask": mask}.get(changed)
        if path:
            image = sitk.ReadImage(str(path))
            image[0, 0, 0] = image[0, 0, 0] + 1
            sitk.WriteImage(image, str(path))
        for old in folder.glob("case_0*"):
            old.unlink()
        files, output = [str(path) for path in images], str(folder / "case_0")
        DefaultPreprocessor(verbose=False).run_case_save(
            output, files, str(mask), manager, manager.get_configuration("2d"), masks_json
        )
        return _fingerprint(trainer, "case_0")

    return again


def test_preprocessed_again_from_the_same_files_it_is_the_same(again) -> None:
    assert again() == again()


@pytest.mark.parametrize("changed", ["image", "mask"])
def test_another_image_or_mask_is_told_by_a_voxel_in_the_corner(again, changed) -> None:
    before = again()
    assert again(changed) != before
    assert again() == again(), "and it stays so"
