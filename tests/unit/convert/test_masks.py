import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_mgcl.convert.manifest.table import ManifestRow
from nnunet_mgcl.convert.masks import label_map, lesion_ml, read_masks
from nnunet_mgcl.convert.registration.alignment import Aligned
from nnunet_mgcl.convert.registration.grid import Grid
from nnunet_mgcl.convert.settings import Settings
from nnunet_mgcl.system.errors import UserError


def image(array, spacing):
    return Grid(array.shape[::-1], spacing, (0.0, 0.0, 0.0), np.eye(3).ravel().tolist()).image(array)


@pytest.fixture
def scans():
    return {"DWI": image(np.zeros((4, 8, 8)), (1.0, 1.0, 2.0)), "FLAIR": image(np.zeros((4, 4, 4)), (2.0, 2.0, 2.0))}


@pytest.fixture
def aligned(scans):
    """On DWI's grid; FLAIR was moved by one of its voxels along x."""
    shift = sitk.TranslationTransform(3, (2.0, 0.0, 0.0))
    transforms = {"DWI": sitk.Transform(3, sitk.sitkIdentity), "FLAIR": shift}
    return Aligned(Grid.of(scans["DWI"]), scans, transforms)


@pytest.fixture
def join(scans, aligned, tmp_path):
    def join(masks, **changes):
        paths = {}
        for name, mask in masks.items():
            paths[name] = mask and str(tmp_path / f"{name or 'mask'}.nii.gz")
            if mask:
                sitk.WriteImage(mask, paths[name])
        row = ManifestRow("x", {}, paths, None, None, "line 2")
        modalities = {"DWI": ("DWI",), "FLAIR": ("FLAIR",)}
        settings = Settings(("DWI", "FLAIR"), modalities, masks=tuple(masks), **changes)
        masks, doubts = read_masks(row, scans, aligned, settings)
        return sitk.GetArrayFromImage(label_map(masks, settings)), lesion_ml(masks, settings), doubts

    return join


def box(shape, *corner, value=1):
    array = np.zeros(shape, np.uint8)
    array[tuple(slice(c, c + 2) for c in corner)] = value
    return array


def test_a_mask_stays_on_its_scan(join):
    drawn = box((4, 8, 8), 1, 2, 3)
    labels, volumes, doubts = join({"": image(drawn, (1.0, 1.0, 2.0))})
    np.testing.assert_array_equal(labels, drawn)
    assert volumes == {"lesion": pytest.approx(0.016)} and doubts == []


def test_a_mask_moves_with_the_scan_it_lies_on(join):
    drawn = box((4, 4, 4), 1, 1, 2)
    labels, *_ = join({"": image(drawn, (2.0, 2.0, 2.0))})
    x = np.argwhere(labels)[:, 2]
    assert (x.min(), x.max()) in {(1, 4), (2, 5)}  # 3 mm to 7 mm, moved by -2 mm; edges between voxels go either way
    assert set(np.argwhere(labels)[:, 0]) == {1, 2}


def test_labels_are_numbered_as_nnunet_wants_them(join):
    drawn = box((4, 8, 8), 0, 0, 0, value=3) + box((4, 8, 8), 2, 4, 4, value=7)
    labels, volumes, _ = join({"": image(drawn, (1.0, 1.0, 2.0))}, labels={"core": 7, "edge": 3})
    np.testing.assert_array_equal(labels, (drawn == 3) + 2 * (drawn == 7))  # by their values
    assert set(volumes) == {"edge", "core"}
    labels, *_ = join({"": image(drawn, (1.0, 1.0, 2.0))}, labels={"lesion": "any"})
    np.testing.assert_array_equal(labels, drawn > 0)
    with pytest.raises(UserError, match="labels 3, 7") as error:
        join({"": image(drawn, (1.0, 1.0, 2.0))})
    assert "--labels lesion=any" in error.value.remedy and "lesion=1 label_3=3 label_7=7" in error.value.remedy


def test_masks_of_modalities_may_overlap(join):
    dwi, flair = box((4, 8, 8), 1, 2, 2), box((4, 4, 4), 1, 1, 1)
    labels, volumes, _ = join({"DWI": image(dwi, (1.0, 1.0, 2.0)), "FLAIR": image(flair, (2.0, 2.0, 2.0))})
    np.testing.assert_array_equal(labels & 1, dwi)
    assert (labels == 2).any() and volumes["DWI"] > 0
    labels, volumes, _ = join({"DWI": image(dwi, (1.0, 1.0, 2.0)), "FLAIR": None})
    np.testing.assert_array_equal(labels, dwi)
    assert volumes["FLAIR"] == 0


def test_a_modalitys_mask_lies_on_a_scan_of_that_modality(join):
    drawn = image(box((4, 8, 8), 1, 2, 2), (1.0, 1.0, 2.0))
    with pytest.raises(UserError, match="a mask on another grid") as error:
        join({"DWI": drawn, "FLAIR": drawn})
    assert "FLAIR: 4 x 4 x 4" in error.value.expected and "DWI" not in error.value.expected


def test_a_mask_that_the_common_grid_loses_raises_a_doubt(join, aligned):
    drawn = np.zeros((4, 4, 4), np.uint8)
    drawn[:, :, 0] = 1  # what the shift moves out of view
    *_, doubts = join({"": image(drawn, (2.0, 2.0, 2.0))})
    assert len(doubts) == 1
    assert "of 0.13 ml of the mask" in doubts[0]


def test_a_mask_that_fits_two_scans_which_moved_apart_raises_a_doubt(join, scans, aligned):
    scans["FLAIR"] = scans["DWI"]
    drawn = image(box((4, 8, 8), 1, 2, 3), (1.0, 1.0, 2.0))
    empty = image(np.zeros((4, 8, 8), np.uint8), (1.0, 1.0, 2.0))
    for shift in (0.4, 12.0):
        aligned.transforms["FLAIR"] = sitk.TranslationTransform(3, (shift, 0.0, 0.0))
        labels, _, doubts = join({"": drawn})
        np.testing.assert_array_equal(labels, sitk.GetArrayFromImage(drawn))  # the first channel's
        assert len(doubts) == (shift > 1) and all("by 12.0 mm" in doubt for doubt in doubts)
        assert join({"": empty})[2] == []
