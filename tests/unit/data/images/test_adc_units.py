from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_mgcl.convert.scans.reader import read_scan
from nnunet_mgcl.data.images.adc_units import UNITS, to_common_unit
from nnunet_mgcl.system.errors import UserError

SCANS = Path(os.environ.get("MGCL_TEST_DATA", "nowhere")) / "isles22"


def to_micro(values: np.ndarray, unit: str = "auto") -> tuple[np.ndarray, str]:
    image, found = to_common_unit(sitk.GetImageFromArray(values), unit)
    return sitk.GetArrayFromImage(image), found


@pytest.fixture
def adc() -> np.ndarray:
    """`(Z, Y, X)` in 10^-6 mm^2/s: a head with tissue, fluid and an infarct's core in a background of zeros."""
    rng = np.random.default_rng(0)
    values = rng.normal(850, 120, (10, 30, 30))
    values[4:6, 10:15, 10:15] = rng.normal(3000, 200, (2, 5, 5))
    values[4:6, 20:25, 10:15] = rng.normal(420, 60, (2, 5, 5))
    values[:, :6] = values[:, -6:] = values[..., :6] = values[..., -6:] = 0
    return values


@pytest.mark.parametrize(("unit", "factor"), [("mm^2/s", 1e6), ("10^-3 mm^2/s", 1e3), ("10^-6 mm^2/s", 1)])
def test_each_unit_is_told_from_the_values(adc, unit, factor):
    got, found = to_micro((adc / factor).astype(np.float32))
    np.testing.assert_allclose(got, adc, rtol=1e-5)
    assert found == f"{unit}, x {factor:g}" and got.dtype == np.float32


def test_a_unit_that_the_values_contradict_is_refused(adc):
    values = (adc / 1e6).astype(np.float32)
    with pytest.raises(UserError, match=r"look like mm\^2/s\n.*10\^-6 mm\^2/s, as told") as error:
        to_micro(values, "1e-6")
    assert "column adc_unit, mm2/s" in error.value.remedy
    for unit in UNITS:
        with pytest.raises(UserError, match="hardly a value that tissue has"):
            to_micro(values * 37, unit)


def test_a_told_unit_helps_where_too_little_is_tissue(adc):
    adc[adc == 0] = np.random.default_rng(1).choice([1e5, 2e5, 3e5], np.count_nonzero(adc == 0))
    adc[:6, 6:24, 6:24] = 1e4
    with pytest.raises(UserError, match="fit no unit"):
        to_micro(adc)
    assert to_micro(adc, "1e-6")[1] == "10^-6 mm^2/s, x 1 as told"
    with pytest.raises(UserError, match="hardly a value"):
        to_micro(adc, "mm2/s")


@pytest.mark.parametrize("factor", [1, 1e3, 1e6])
@pytest.mark.parametrize("air", ["tiny", "tiny and uneven", "a thousandfold", "full scale"])
def test_air_that_is_not_zero_has_no_say(factor, air):
    """An ellipsoid of 12 % of the volume, as of a bare brain; the rest is what a program filled it with."""
    squares = sum(axis**2 for axis in np.meshgrid(*(np.linspace(-1, 1, n) for n in (40, 60, 60)), indexing="ij"))
    head = squares < np.quantile(squares, 0.12)
    fillings = {"tiny": 2.09e-2, "a thousandfold": 8e5, "full scale": 4095.0}
    values = np.where(head, 800.0, fillings.get(air, 0.0))
    if air == "tiny and uneven":
        values[~head] = np.random.default_rng(0).uniform(0.01, 0.03, np.count_nonzero(~head))
    got, _ = to_micro((values / factor).astype(np.float32))
    np.testing.assert_allclose(got[head], 800, rtol=1e-5)


def test_whole_numbers_are_told(adc):
    got, found = to_micro(adc.astype(np.int16))
    np.testing.assert_array_equal(got, adc.astype(np.int16))
    assert found == "10^-6 mm^2/s, x 1"


@pytest.mark.parametrize("factor", [1, 1e3, 1e6])
@pytest.mark.parametrize("spoil", ["outliers", "negative values", "noise", "ringing"])
def test_what_is_no_tissue_has_no_say(adc, factor, spoil):
    rng = np.random.default_rng(1)
    outside = adc == 0
    if spoil == "outliers":
        adc[0, 0, :20] = 1e9
    elif spoil == "negative values":
        adc[outside] = -rng.uniform(0, 1e6, outside.sum())
    elif spoil == "noise":  # an unmasked map: where the air's signal is noise, so is its ADC
        adc[outside] = rng.normal(0, 3000, outside.sum())
    else:  # of an interpolation
        adc[outside] = rng.normal(0, 1e-2, outside.sum())
    got, _ = to_micro((adc / factor).astype(np.float64))
    np.testing.assert_allclose(got, adc, rtol=1e-5)


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        *((lambda adc, factor=factor: adc / factor, "fit no unit.*median") for factor in (0.01, 30, 1e5, 1e9)),
        (lambda adc: np.concatenate([adc[:5] / 1000, adc[5:]]), r"10\^-3 mm\^2/s and 10\^-6 mm\^2/s"),
        (lambda adc: -np.abs(adc), "no positive value"),
        (lambda adc: np.random.default_rng(0).normal(250, 40, (10, 20, 20)), "fit"),  # a masked DWI's signal
    ],
)
def test_maps_that_tell_no_unit_are_refused(adc, spoil, found):
    with pytest.raises(UserError, match=found) as error:
        to_micro(spoil(adc).astype(np.float32))
    assert "column adc_unit, mm2/s | 1e-3 | 1e-6" in error.value.remedy


@pytest.mark.parametrize(("unit", "factor"), [("mm2/s", 1e6), ("1e-3", 1e3), ("1e-6", 1)])
def test_a_told_unit_is_taken(adc, unit, factor):
    image = sitk.GetImageFromArray(adc / factor)
    image.SetSpacing((1, 2, 3))
    image.SetOrigin((4, 5, 6))
    scaled, found = to_common_unit(image, unit)
    np.testing.assert_allclose(sitk.GetArrayFromImage(scaled), adc, rtol=1e-5)
    assert scaled.GetSpacing() == (1, 2, 3) and scaled.GetOrigin() == (4, 5, 6)
    assert found == f"{UNITS[unit][0]}, x {factor:g} as told"


@pytest.mark.skipif(not SCANS.is_dir(), reason="set MGCL_TEST_DATA to a folder that holds isles22")
@pytest.mark.parametrize(("case", "unit"), [("0001", "10^-3 mm^2/s"), ("0002", "mm^2/s"), ("0009", "10^-3 mm^2/s")])
def test_real_maps_of_mixed_units(case, unit):
    image, _ = read_scan(str(SCANS / f"sub-strokecase{case}_ses-0001_adc.nii.gz"), channel="ADC")
    scaled, found = to_common_unit(image, "auto")
    values = sitk.GetArrayFromImage(scaled)
    assert found.startswith(f"{unit}, x") and 700 < np.median(values[values > 0]) < 1200
