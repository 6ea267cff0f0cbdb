from __future__ import annotations

import base64
import re
import struct

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_mgcl.convert.scans.b_value import read_b_value
from nnunet_mgcl.convert.scans.reader import read_scan
from nnunet_mgcl.system.errors import UserError
from tests.unit.convert.conftest import DIRECTION, ORIGIN, SPACING

B = "t0018_9087"


@pytest.fixture
def write(write_series):
    """Tags as keywords `t0018_9087`."""

    def call(folder, values, **options):
        return write_series(folder, values, **{key.removeprefix("t"): value for key, value in options.items()})

    return call


def refusal(source, channel="FLAIR", **options) -> str:
    with pytest.raises(UserError) as error:
        read_scan(str(source), channel=channel, **options)
    return str(error.value)


def check(image: sitk.Image, values: np.ndarray) -> None:
    """Voxels, and the place that conftest.py gives to all series."""
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), values)
    np.testing.assert_allclose(image.GetSpacing(), SPACING, atol=1e-5)
    np.testing.assert_allclose(image.GetOrigin(), ORIGIN, atol=1e-5)
    np.testing.assert_allclose(np.reshape(image.GetDirection(), (3, 3)), DIRECTION, atol=1e-6)
    assert image.GetMetaDataKeys() == ()


def check_volume(source, choice, values, *notes: str) -> None:
    """The volume that is taken, and what is said about it."""
    image, told = read_scan(str(source), channel="DWI", dwi_volume=choice)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), values)
    assert told == list(notes)


@pytest.mark.parametrize("ending", [".dcm", ""])
def test_series_keeps_voxels_spacing_and_orientation(tmp_path, values, write, ending):
    image, notes = read_scan(str(write(tmp_path, values, ending=ending)), channel="FLAIR")
    check(image, values)
    assert notes == []


def test_order_is_that_of_the_positions_not_of_the_instance_numbers(tmp_path, values, write):
    heights = 5.0 * np.arange(5)[::-1]
    check(read_scan(str(write(tmp_path, values, heights=heights)), channel="FLAIR")[0], values[::-1])


def test_slices_are_rescaled_each_by_its_own_slope(tmp_path, values, write):
    slopes = np.reshape((1, 0.25, 1, 1, 0.25), (5, 1, 1))
    scaled = np.round(values) * slopes
    for number, slope in enumerate(slopes.ravel()):
        plane, heights = scaled[number : number + 1], np.array([5.0 * number])
        write(tmp_path, plane, first=number, heights=heights, t0028_1053=f"{slope:g}")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_scan(str(tmp_path), channel="FLAIR")[0]), scaled)


def test_two_series_are_listed_and_picked_by_uid(tmp_path, values, write):
    folder = tmp_path / "scan#1"
    check(read_scan(str(write(folder, values, series="1.2.3")), channel="FLAIR")[0], values)
    write(folder, values[:4] + 1, series="1.2.4", t0020_0011="12", t0008_103e="secret DOE")
    message = refusal(folder)
    assert "1.2.3: 5 images, series number 7, MR" in message
    assert "1.2.4: 4 images, series number 12, MR, 'secret DOE'" in message
    check(read_scan(f"{folder}#1.2.4", channel="FLAIR")[0], values[:4] + 1)
    assert "no series 1.9" in refusal(f"{folder}#1.9")


def test_volumes_without_a_b_value_are_in_order_of_the_instance_numbers_and_none_is_guessed(tmp_path, values, write):
    for number in range(5):  # b0, b1000, b0, ... as some scanners number them
        for volume in range(2):
            plane, height = values[number : number + 1] + volume, np.array([5.0 * number])
            write(tmp_path, plane, first=2 * number + volume, heights=height)
    message = refusal(tmp_path, "DWI", dwi_volume="last")
    assert "1: b unknown, ORIGINAL\\PRIMARY; 2: b unknown" in message and "--dwi-volume N" in message
    check_volume(tmp_path, 2, values + 1, "volume 2 of 2 taken, b unknown")


HIGHER = (b"\x00\x52\x29\x92", b"\xe0\x7f\x10\x00")
"""SharedFunctionalGroupsSequence, which SimpleITK writes or not, and the voxels."""


def add_united_imaging(folder, value):
    """SimpleITK cannot write this maker's element: it goes before the first tag of a higher group, without its type."""
    added = b"\x65\x00\x10\x00\x14\x00\x00\x00Image Private Header"
    added += b"\x65\x00\x09\x10\x08\x00\x00\x00" + struct.pack("<d", value)
    for path in folder.iterdir():
        content = path.read_bytes()
        higher = min(found for tag in HIGHER if (found := content.find(tag)) > 0)
        path.write_bytes(content[:higher] + added + content[higher:])


MAKERS = {
    "public": ("0018", "87", "", "{}"),
    "GE": ("0043", "39", "GEMS_PARM_01", "{}\\8\\0\\0"),
    "Siemens": ("0019", "0c", "SIEMENS MR HEADER", "{}"),
    "Philips": ("2001", "03", "Philips Imaging DD 001", "{}"),
}


@pytest.mark.parametrize(
    ("maker", "block", "b1000"),
    [("public", "90", "1000"), ("GE", "10", "1000001000"), ("GE", "11", "1000"), ("Siemens", "10", "1000"),
     ("Siemens", "11", "1000"), ("Philips", "10", "1000"), ("United Imaging", "10", "1000")],
)  # fmt: skip
def test_b_values_of_every_maker_tell_the_volumes_apart(tmp_path, values, write, maker, block, b1000):
    for first, b_value, more in ((0, b1000, 500), (5, "0", 0)):
        if maker == "United Imaging":
            add_united_imaging(write(tmp_path / str(first), values + more, first=first), float(b_value))
        else:
            group, element, creator, form = MAKERS[maker]
            tags = {f"t{group}_00{block}": creator} if creator else {}
            tags[f"t{group}_{block}{element}"] = form.format(b_value)
            write(tmp_path / str(first), values + more, first=first, **tags)
        for path in (tmp_path / str(first)).iterdir():
            path.rename(tmp_path / path.name)
    assert "2 volumes (4D)" in (message := refusal(tmp_path, "DWI")) and "--dwi-volume last" in message
    check_volume(tmp_path, "last", values + 500, "volume 2 of 2 taken, b = 1000")
    check_volume(tmp_path, 1, values, "volume 1 of 2 taken, b = 0")


def test_an_element_of_another_maker_is_no_b_value():
    assert read_b_value({"0019|0010": "GEMS_ACQU_01", "0019|100c": "1000"}) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [("1000", 1000), ("1000001000\\8\\0\\0", 1000), ("1000000000", 0), ("0", 0), ("-1", None), ("nan", None),
     ("", None), ("no", None), ("Zoë", None),
     *((base64.b64encode(content).decode(), 1000) for content in (
         struct.pack("<d", 1000), struct.pack("<f", 1000), b"1000", b"1000 ", b"1000001000\\8\\0\\0 "))],
)  # fmt: skip
def test_a_b_value_is_read_in_every_notation(text, value):
    header = {"0043|0012": "GEMS_PARM_01", "0043|1239": text}
    assert read_b_value(header) == value
    assert read_b_value({**header, "0018|9087": "700"}) == 700


@pytest.mark.parametrize("b_of_map", [{}, {B: "1000"}])
@pytest.mark.parametrize("choice", ["last", 2])
def test_a_scanners_map_is_no_volume_of_the_series(tmp_path, values, write, choice, b_of_map):
    write(tmp_path, values, first=0, **{B: "0"})
    write(tmp_path, values + 500, first=5, **{B: "1000"})
    write(tmp_path, values + 800, first=10, t0008_0008="DERIVED\\SECONDARY\\ADC", **b_of_map)
    check_volume(tmp_path, choice, values + 500, "volume 2 of 2 taken, b = 1000", "maps in the series left out (ADC)")


def test_a_derived_volume_without_a_b_value_is_not_guessed(tmp_path, values, write):
    write(tmp_path, values, first=5, **{B: "0"})
    write(tmp_path, values + 500, first=10, **{B: "1000"})
    write(tmp_path, values + 800, first=0, t0008_0008="DERIVED\\SECONDARY")
    for choice in ("last", 3):
        message = refusal(tmp_path, "DWI", dwi_volume=choice)
        assert "1: b = 0, ORIGINAL" in message and "3: b unknown, DERIVED\\SECONDARY" in message
    check_volume(tmp_path, 2, values + 500, "volume 2 of 3 taken, b = 1000")


def test_a_derived_volume_with_the_b_value_of_another_is_not_guessed(tmp_path, values, write):
    write(tmp_path, values, first=0, **{B: "1000"})
    write(tmp_path, values + 500, first=5, t0008_0008="DERIVED\\SECONDARY", **{B: "1000"})
    refusal(tmp_path, "DWI", dwi_volume="last")


def test_a_series_without_a_diffusion_weighted_image_is_no_dwi(tmp_path, values, write):
    write(tmp_path / "map", values, t0008_0008="DERIVED\\PRIMARY\\DIFFUSION\\ADC")
    assert "computed maps only (ADC)" in refusal(tmp_path / "map", "DWI")
    assert read_scan(str(tmp_path / "map"), channel="ADC")[1] == []
    write(tmp_path / "b0", values, **{B: "0"})
    write(tmp_path / "b0", values + 800, first=5, t0008_0008="DERIVED\\SECONDARY\\ADC")
    assert "b = 0 only" in refusal(tmp_path / "b0", "DWI")


@pytest.mark.parametrize(
    ("series", "message"),
    [
        ([{}, {"first": 5, "slices": 4}], "1 to 2 images at a position"),
        ([{"heights": [0, 5, 15, 20, 25]}], "gaps from 5.00 to 10.00 mm"),
        ([{"heights": [0, 5, 10, 15.5, 20.5]}], "gaps from 5.00 to 5.50 mm"),
        ([{}, {"first": 5, "t0020_0037": "1\\0\\0\\0\\1\\0"}], "not parallel"),
        ([{"t0008_0008": "ORIGINAL\\PRIMARY\\M\\MOSAIC"}], "dcm2niix"),
        ([{"slices": 1}], "one slice"),
        ([{}, {"first": 5, "slices": 2, "rows": 8}], "5 of 10 x 12, 2 of 10 x 8"),
        ([{"slices": 3, B: "1000"}, {"slices": 2, "first": 3, "heights": [15, 20], B: "0"}], "b-values [0.0, 1000.0]"),
    ],
)
def test_images_that_are_no_stack_are_refused(tmp_path, values, write, series, message):
    for options in series:
        slices, rows = options.pop("slices", 5), options.pop("rows", 12)
        heights = options.pop("heights", None)
        write(tmp_path, values[:slices, :rows], heights=heights and np.array(heights, float), **options)
    assert message in refusal(tmp_path, "DWI", dwi_volume="last")
    if B in series[0]:  # what stands in its place in another scan means nothing
        check(read_scan(str(tmp_path), channel="FLAIR")[0], np.concatenate([values[:3], values[:2]]))


def test_rounded_positions_and_another_alphabet_are_no_matter(tmp_path, values, write):
    heights = np.array([0, 5.01, 10, 14.99, 20])
    for path in write(tmp_path, values, heights=heights, t0008_103e="Sch?del").iterdir():
        path.write_bytes(path.read_bytes().replace(b"Sch?del", b"Sch\xe4del"))
    assert read_scan(str(tmp_path), channel="FLAIR")[0].GetSize() == (10, 12, 5)


def test_gantry_tilt_is_refused(tmp_path, values, write):
    for number in range(5):
        position = ORIGIN + DIRECTION @ (0, 0.5 * number, 5.0 * number)
        write(tmp_path, values[number : number + 1], first=number, t0020_0032="\\".join(f"{v:.4f}" for v in position))
    assert "shifted by 2.0 mm in plane" in refusal(tmp_path)


def test_other_files_and_copies_are_passed_over(tmp_path, values, write):
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM\x02\x00\x02\x00UI\x14\x001.2.840.10008.1.3.10" + bytes(99))
    (tmp_path / "report.txt").write_text("text " * 200)
    (tmp_path / "subfolder").mkdir()
    assert "without a DICOM image" in refusal(tmp_path)
    write(tmp_path, values)
    (tmp_path / "copy.dcm").write_bytes(next(tmp_path.glob("*_2.dcm")).read_bytes())
    check(read_scan(str(tmp_path), channel="FLAIR")[0], values)


def test_damaged_slice_is_named_not_passed_over(tmp_path, values, write):
    last = next(write(tmp_path, values).glob("*_4.dcm"))  # the stack of the other four would look whole
    last.write_bytes(last.read_bytes()[:-50])
    assert last.name in (message := refusal(tmp_path)) and "damaged" in message


def test_patient_is_nowhere_in_the_result(tmp_path, values, write):
    folder = write(tmp_path / "dicom", values, t0010_0020="ID4711", t0008_103e="DOE flair")
    for slice_file in folder.iterdir():
        assert b"DOE^JANE" in slice_file.read_bytes() and b"ID4711" in slice_file.read_bytes()
    image, notes = read_scan(str(folder), channel="FLAIR")
    assert image.GetMetaDataKeys() == () and notes == []
    sitk.WriteImage(image, str(tmp_path / "scan.nii"))
    assert not any(word in (tmp_path / "scan.nii").read_bytes() for word in (b"DOE", b"JANE", b"ID4711"))


def test_screenshots_and_colour_maps_are_refused(tmp_path, values, write):
    for path in write(tmp_path / "shots", values).iterdir():  # ImagePositionPatient becomes a tag that nobody knows
        path.write_bytes(path.read_bytes().replace(b"\x20\x00\x32\x00", b"\x20\x00\x33\x00"))
    assert "without a position" in refusal(tmp_path / "shots")
    picture = np.random.default_rng(0).integers(0, 255, (1, 12, 10, 3), np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(picture, isVector=True), str(tmp_path / "map.dcm"))
    assert "colour pictures" in refusal(tmp_path, "Tmax")


class TestEnhanced:
    @pytest.fixture
    def whole(self, tmp_path, image, request):
        """One file with all slices; returns its folder. Compressed files write each tag's type, others do not."""
        image.SetMetaData("0008|0060", "MR")
        compressed = getattr(request, "param", False)
        sitk.WriteImage(image, str(tmp_path / "whole.dcm"), useCompression=compressed)
        return tmp_path

    @staticmethod
    def move(folder, order):
        """Gives each frame the position of another."""
        path = folder / "whole.dcm"
        content = bytearray(path.read_bytes())
        found = re.finditer(rb"\x20\x00\x32\x00(..)\x00\x00", content, re.DOTALL)
        places = [slice(match.end(), match.end() + int.from_bytes(match[1], "little")) for match in found]
        texts = [bytes(content[place]).strip() for place in places]
        for place, source in zip(places, order, strict=True):
            text = texts[source]
            while len(text) > place.stop - place.start:  # one digit less in each number until it fits
                text = b"\\".join(number[:-1] for number in text.split(b"\\"))
            content[place] = text.ljust(place.stop - place.start)
        path.write_bytes(bytes(content))

    @pytest.mark.parametrize("whole", [False, True], indirect=True)
    def test_one_volume_in_order_is_read(self, whole, image):
        read, notes = read_scan(str(whole), channel="FLAIR")
        check(read, sitk.GetArrayFromImage(image))
        assert notes == []

    @pytest.mark.parametrize("order", [(0, 1, 2, 3, 3), (0, 1, 1, 2, 3), (0, 2, 1, 3, 4), (0, 1, 2, 4, 4)])
    def test_frames_that_are_not_one_volume_in_order_are_refused(self, whole, order):
        self.move(whole, order)
        assert "dcm2niix" in refusal(whole, "DWI", dwi_volume="last")

    @pytest.mark.parametrize("tag", [b"\x20\x00\x37\x00", b"\x28\x00\x53\x10", b"\x28\x00\x52\x10"])
    def test_frames_of_two_orientations_or_scales_are_refused(self, whole, tag):
        content = bytearray((whole / "whole.dcm").read_bytes())
        content[60:70] = tag + b"DS\x02\x003 "  # into the preamble, which no DICOM reader looks at
        content[80:90] = tag + b"DS\x02\x004 "
        (whole / "whole.dcm").write_bytes(bytes(content))
        assert "dcm2niix" in refusal(whole)
