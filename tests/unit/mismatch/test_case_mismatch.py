from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_mgcl.mismatch.case_files import NotThereError
from nnunet_mgcl.mismatch.case_mismatch import (
    FLAIR_COLUMNS,
    PERFUSION_COLUMNS,
    REASON,
    MismatchOptions,
    adc_in_micro,
    beyond_tmax,
    measure_case,
    mismatch_columns,
)
from nnunet_mgcl.mismatch.flair_ratio import flair_mismatch
from nnunet_mgcl.mismatch.roles import Roles

MASKS = {"DWI": [1, 3, 5, 7], "FLAIR": [2, 3, 6, 7], "PWI": [4, 5, 6, 7]}
CHANNELS = {"ADC": 1, "FLAIR": 2, "Tmax": 3}
ROLES = Roles(CHANNELS, MASKS)


@pytest.fixture
def measure(head, tmp_path):
    """A left DWI lesion of about 22 ml and FLAIR ratio 1.3 in a deficit of about 53 ml; ADC falls in half of it."""
    patient = head(lesions=[(40, 5, 5, 17, 1.3)])
    hypoperfused = head(lesions=[(40, 5, 5, 23, 1.3)]).mask
    labels = (patient.mask + 4 * hypoperfused).astype(np.uint8)
    adc = np.where(patient.mask & (np.indices(labels.shape)[1] > 28), 500.0, 800.0)
    adc[:2] = 500.0  # noise, far from any lesion

    def path(name):
        return tmp_path / (f"a_{CHANNELS[name]:04}.nii.gz" if name in CHANNELS else "a.nii.gz")

    def write(name, array):
        image = sitk.GetImageFromArray(array)
        image.CopyInformation(patient.flair)
        sitk.WriteImage(image, str(path(name)))

    sitk.WriteImage(patient.flair, str(path("FLAIR")))
    for name, array in {"ADC": adc, "Tmax": np.where(hypoperfused, 8.0, 2.0), "labels": labels}.items():
        write(name, array)

    def measure(roles=ROLES, replaced=None, **options):
        for name, array in (replaced or {}).items():
            write(name, array)
        return measure_case(tmp_path, ".nii.gz", roles, MismatchOptions(**options), path("labels"))

    measure.labels, measure.path, measure.voxel_ml = labels, path, 0.096
    return measure


def test_row_holds_both_mismatches(measure) -> None:
    found = measure()
    core, whole = ((measure.labels & bit > 0).sum() * measure.voxel_ml for bit in (1, 4))
    assert tuple(found.row) == ("case", *FLAIR_COLUMNS, *PERFUSION_COLUMNS, REASON)
    assert float(found.row["core_ml"]) == pytest.approx(core, abs=1e-3)
    assert float(found.row["hypoperfused_ml"]) == pytest.approx(whole, abs=1e-3)
    assert float(found.row["mismatch_ml"]) == pytest.approx(whole - core, abs=1e-3)
    assert float(found.row["mismatch_ratio"]) == pytest.approx(whole / core, abs=1e-3)
    assert (found.row["extend"], found.row["defuse3"]) == ("1", "1")
    assert float(found.row["flair_ratio"]) == pytest.approx(1.3, abs=0.03)
    assert (found.row["lesions"], found.row["flair_positive"], found.row["flair_lesion_ml"]) == ("1", "1", "0.000")
    assert found.row[REASON] == ""
    (lesion,) = found.lesions
    assert (lesion["case"], lesion["lesion"], lesion["side"], lesion["flair_positive"]) == ("a", "1", "left", "1")


def test_threshold_of_flair_is_the_user_s_and_itself_positive(measure) -> None:
    ratio = flair_mismatch(sitk.ReadImage(str(measure.path("FLAIR"))), measure.labels & 1 > 0).patient.ratio
    for threshold, positive in ((ratio, "1"), (ratio + 1e-9, "0")):
        found = measure(flair_positive=threshold)
        assert found.row["flair_positive"] == found.lesions[0]["flair_positive"] == positive


def test_core_may_be_what_has_a_low_adc_and_was_computed(measure) -> None:
    whole, part = measure().row, measure(adc_core=True).row
    assert 0.3 < float(part["core_ml"]) / float(whole["core_ml"]) < 0.7
    assert part["flair_ratio"] == whole["flair_ratio"]
    for adc in (np.where(measure.labels > 0, 0.0, 800.0), np.zeros(measure.labels.shape)):
        assert measure(replaced={"ADC": adc}, adc_core=True).row["core_ml"] == "0.000"


def test_what_is_no_number_counts_as_zero(measure) -> None:
    flair = sitk.GetArrayFromImage(sitk.ReadImage(str(measure.path("FLAIR"))))
    flair[:, :4] = np.nan
    tmax = np.where(measure.labels > 0, 8.0, np.nan)
    row = measure(replaced={"FLAIR": flair, "Tmax": tmax}, tmax=True).row
    assert float(row["flair_ratio"]) == pytest.approx(1.3, abs=0.03)
    assert float(row["hypoperfused_ml"]) > 40 and row[REASON] == ""


def test_hypoperfusion_comes_from_tmax_where_it_is_wanted_or_there_is_no_mask(measure) -> None:
    from_mask = float(measure().row["hypoperfused_ml"])
    without = Roles(CHANNELS, {"DWI": [1, 3, 5, 7]})
    for row in (measure(tmax=True).row, measure(without).row):
        assert float(row["hypoperfused_ml"]) == pytest.approx(from_mask, rel=0.1)
        assert float(row["hypoperfused_ml"]) != from_mask


@pytest.mark.parametrize(
    ("roles", "reason", "filled"),
    [
        (Roles({}, MASKS), "FLAIR: no FLAIR channel", PERFUSION_COLUMNS),
        (Roles({"FLAIR": 2}, {"DWI": [1, 5]}), "perfusion: no PWI mask and no Tmax channel", ("flair_ratio",)),
        (Roles(CHANNELS, {"PWI": [4, 5]}), "FLAIR: no DWI mask; perfusion: no DWI mask", ()),
    ],
)
def test_what_is_missing_is_an_empty_cell_and_a_reason(measure, roles, reason, filled) -> None:
    row = measure(roles).row
    assert row[REASON] == reason
    assert all(row[column] for column in filled)
    assert "nan" not in "".join(row.values()).lower()


@pytest.mark.parametrize("broken", [False, True])
def test_lesions_are_counted_without_flair_too(measure, broken) -> None:
    whole = measure().lesions[0]
    if broken:
        measure.path("FLAIR").write_bytes(b"spoilt")
    found = measure(ROLES if broken else Roles({}, MASKS))
    assert found.row["lesions"] == "1"
    (lesion,) = found.lesions
    same = ("case", "lesion", "volume_ml", "x_mm", "y_mm", "z_mm")
    assert [lesion[key] for key in same] == [whole[key] for key in same] and float(lesion["volume_ml"]) > 20
    assert lesion["side"] == lesion["flair_ratio"] == lesion["flair_positive"] == ""
    assert found.row[REASON].startswith(f"FLAIR: {lesion['reason']}") and lesion["reason"]


def test_case_without_a_lesion_says_so(measure) -> None:
    found = measure(replaced={"labels": np.zeros_like(measure.labels)})
    assert found.row[REASON] == "FLAIR: no DWI lesion of at least 0.5 ml; perfusion: no core, so no mismatch ratio"
    assert (found.row["lesions"], found.row["flair_ratio"], found.row["mismatch_ratio"]) == ("0", "", "")
    assert (found.row["core_ml"], found.row["extend"]) == ("0.000", "0")
    assert found.lesions == []


def test_files_that_do_not_fit_are_a_reason_too(measure) -> None:
    cut = sitk.ReadImage(str(measure.path("FLAIR")))[:, :, :-1]
    sitk.WriteImage(cut, str(measure.path("FLAIR")))
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((24, 56, 56), np.float32)), str(measure.path("Tmax")))
    assert measure(tmax=True).row[REASON].count("and the segmentation have different grids") == 2
    cut.SetSpacing((1e-3, 2.0, 5.0))
    sitk.WriteImage(cut, str(measure.path("FLAIR")))
    assert "a_0002.nii.gz has a spacing of 0.001 x 2 x 5 mm" in measure().row[REASON]
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 8, 8), np.float32)), str(measure.path("FLAIR")))
    assert "a_0002.nii.gz is no volume" in measure().row[REASON]
    measure.path("labels").unlink()
    assert measure().row[REASON] == "no file a.nii.gz (the segmentation)"


def test_adc_s_unit_is_recognised_and_not_guessed() -> None:
    adc = np.zeros((10, 30, 30))
    adc[:, 6:24, 6:24] = np.random.default_rng(0).normal(0.8, 0.1, (10, 18, 18))
    np.testing.assert_allclose(adc_in_micro(adc), 1e3 * adc)
    with pytest.raises(NotThereError, match="ADC"):
        adc_in_micro(40 * adc)


def test_specks_in_the_tmax_map_are_no_tissue_at_risk() -> None:
    seconds = np.full((4, 40, 40), 2.0)
    seconds[1:3, 10:20, 10:20] = 9.0  # 200 voxels, corners lost to the median
    seconds[:, 30, ::3] = 12.0  # noise
    seconds[0, 2:6, 2:6] = 9.0  # 16 voxels
    found = beyond_tmax(seconds, voxel_ml=0.02)
    assert 190 <= found.sum() <= 200 and found[1:3, 11:19, 11:19].all()
    assert not beyond_tmax(np.full((4, 40, 40), 6.0), 0.02).any()


def test_columns_are_those_that_a_model_s_channels_can_fill() -> None:
    assert mismatch_columns(ROLES) == (*FLAIR_COLUMNS, *PERFUSION_COLUMNS, REASON)
    assert mismatch_columns(Roles({"FLAIR": 0}, {"DWI": [1]})) == (*FLAIR_COLUMNS, REASON)
    assert mismatch_columns(Roles({}, {"DWI": [1], "PWI": [2]})) == (*PERFUSION_COLUMNS, REASON)
    assert mismatch_columns(Roles({"ADC": 0}, {"DWI": [1]})) == ()
