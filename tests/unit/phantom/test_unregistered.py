import csv
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_mgcl.phantom.cases import pool_cases, training_cases
from nnunet_mgcl.phantom.options import PAPER_MATRIX, PhantomOptions
from nnunet_mgcl.phantom.unregistered import SCANS, native_grid
from nnunet_mgcl.phantom.writing import write_phantom

OPTIONS = PhantomOptions(cases=3, unlabelled=3, test=1, matrix=96, slices=9)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    parent = tmp_path_factory.mktemp("scans")
    list(write_phantom(SCANS, parent, OPTIONS))
    return parent / SCANS.folder(OPTIONS)


def rows(scans, name="manifest.csv"):
    with open(scans / name, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_manifest_names_every_file_once(scans):
    named = [row[column] for name in ("manifest.csv", "manifest_test.csv") for row in rows(scans, name)
             for column in row if column not in ("case", "onset_time", "scan_time") and row[column]]  # fmt: skip
    there = [str(path.relative_to(scans)) for path in scans.rglob("*.nii.gz")]
    assert sorted(named) == sorted(there)


def test_labelled_rows_have_all_masks_and_times_and_the_pool_neither(scans):
    labelled = {case.name: case.hours for case in training_cases(OPTIONS)}
    for row in rows(scans):
        masks = [row[f"mask_{modality}"] for modality in ("DWI", "FLAIR", "PWI")]
        if row["case"] in labelled:
            assert all(masks)
            onset, scan = (datetime.fromisoformat(row[name]) for name in ("onset_time", "scan_time"))
            assert (scan - onset).total_seconds() / 3600 == pytest.approx(labelled[row["case"]])
        else:
            assert not any([*masks, row["onset_time"], row["scan_time"]])
    assert {row["case"] for row in rows(scans)} == labelled.keys() | {case.name for case in pool_cases(OPTIONS)}


def test_every_modality_lies_on_a_grid_of_its_own_and_its_mask_with_it(scans):
    case = scans / "phantom_001"
    sizes = {name: sitk.ReadImage(case / f"{name}.nii.gz").GetSpacing() for name in ("DWI", "FLAIR", "Tmax")}
    assert len(set(sizes.values())) == 3
    for image, mask in (("DWI", "mask_DWI"), ("FLAIR", "mask_FLAIR"), ("Tmax", "mask_PWI"), ("DWI", "ADC")):
        one, other = (sitk.ReadImage(case / f"{name}.nii.gz") for name in (image, mask))
        assert one.GetSpacing() == other.GetSpacing()
        assert one.GetOrigin() == other.GetOrigin()


def test_the_grids_of_the_papers_matrix_are_those_of_section_4_1():
    rng = np.random.default_rng(0)
    options = replace(OPTIONS, matrix=PAPER_MATRIX, slices=18)
    for modality, slices, steps, gaps in (
        ("DWI", 18, (0.893, 1.198), (6.6, 7.3)),
        ("FLAIR", 18, (0.411, 0.599), (7.0, 7.3)),
        ("PWI", 21, (1.75, 1.75), (4.0, 6.0)),
    ):
        grids = [native_grid(modality, options, rng) for _ in range(50)]
        assert {grid.shape[0] for grid in grids} == {slices}
        for axis, (low, high) in ((0, gaps), (1, steps), (2, steps)):
            values = [grid.spacing[axis] for grid in grids]
            assert low <= min(values) <= max(values) <= high
            assert max(values) - min(values) >= 0.8 * (high - low)


def test_the_heads_lie_differently_but_at_about_the_same_place(scans):
    def centre(name):
        image = sitk.ReadImage(scans / "phantom_001" / f"{name}.nii.gz")
        array = sitk.GetArrayFromImage(image)
        z, y, x = np.argwhere(array > 0.3 * np.percentile(array, 99)).mean(axis=0)
        return np.array(image.TransformContinuousIndexToPhysicalPoint([x, y, z]))

    distance = np.linalg.norm(centre("DWI") - centre("FLAIR"))
    assert 0.1 < distance < 15  # the header, not chance, says where the head is


def test_adc_maps_come_in_three_units(scans):
    medians = []
    for number in (1, 2, 3):
        array = sitk.GetArrayFromImage(sitk.ReadImage(scans / f"phantom_00{number}" / "ADC.nii.gz"))
        medians.append(np.log10(np.median(array[array > 0])))
    assert np.diff(sorted(medians)) == pytest.approx([3, 3], abs=0.3)


def test_overwrite_knows_every_file_it_wrote(scans):
    (scans / "preview.png").touch()
    write_phantom(SCANS, scans.parent, OPTIONS, overwrite=True)
