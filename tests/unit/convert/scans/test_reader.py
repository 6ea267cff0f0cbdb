from __future__ import annotations

import gzip
import struct

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_mgcl.convert.scans.reader import read_mask, read_scan
from nnunet_mgcl.system.errors import UserError


def refusal(source, channel="DWI", **options) -> str:
    with pytest.raises(UserError) as error:
        read_scan(str(source), channel=channel, **options)
    assert str(source) in str(error.value)
    return str(error.value)


def mask_refusal(source) -> str:
    with pytest.raises(UserError) as error:
        read_mask(str(source))
    return str(error.value)


def read_array(path, channel="FLAIR", **options):
    return sitk.GetArrayFromImage(read_scan(str(path), channel=channel, **options)[0])


@pytest.fixture
def save(tmp_path):
    """Writes an array or image; returns its path."""

    def save(content, name="scan.nii.gz"):
        image = content if isinstance(content, sitk.Image) else sitk.GetImageFromArray(content)
        sitk.WriteImage(image, str(tmp_path / name))
        return tmp_path / name

    return save


@pytest.fixture
def save_nifti(tmp_path):
    """Writes `(x, y, z, ...)` with a header of nibabel's; returns its path."""

    def save(values, name="scan.nii.gz", affine=None, **header):
        nifti = nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine)
        if affine is not None:
            nifti.set_qform(None, 0)
        for key, value in header.items():
            nifti.header[key] = value
        nibabel.save(nifti, tmp_path / name)
        return tmp_path / name

    return save


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.mha", "scan.mhd", "scan.nrrd"])
def test_formats_keep_voxels_type_and_geometry(save, image, name):
    read, notes = read_scan(str(save(image, name)), channel="FLAIR")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read), sitk.GetArrayFromImage(image))
    for got, wanted in ((read.GetSpacing(), image.GetSpacing()), (read.GetOrigin(), image.GetOrigin())):
        np.testing.assert_allclose(got, wanted, atol=1e-5)
    np.testing.assert_allclose(read.GetDirection(), image.GetDirection(), atol=1e-6)
    assert read.GetPixelID() == sitk.sitkInt16 and notes == []


def test_ending_in_capitals_is_an_ending(save, values, tmp_path):
    path = save(values.astype(np.float32)).rename(tmp_path / "SCAN.NII.GZ")
    np.testing.assert_array_equal(read_array(path), values.astype(np.float32))
    values[0, 0, 0] = np.nan  # of which SimpleITK makes zeros
    assert "1 voxels" in refusal(save(values).rename(path))


def test_big_endian_nifti_is_read(tmp_path, values):
    nibabel.save(nibabel.Nifti1Image(values.T.astype(">f4"), np.eye(4), nibabel.Nifti1Header(endianness=">")),
                 tmp_path / "scan.nii")  # fmt: skip
    np.testing.assert_array_equal(read_array(tmp_path / "scan.nii"), values)


def test_double_precision_becomes_float32(save, values):
    read = read_array(save(values + 0.25))
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, values + 0.25)


def test_scale_of_the_header_is_applied(save_nifti):
    stored = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    path = save_nifti(stored, "scaled.nii")
    content = bytearray(path.read_bytes())
    struct.pack_into("<ff", content, 112, 0.5, -3)  # scl_slope, scl_inter
    path.write_bytes(content)
    np.testing.assert_array_equal(read_array(path).T, stored * 0.5 - 3)


def test_orientation_that_simpleitk_chooses_is_noted(tmp_path, values):
    turned = np.diag([1.5, 1.25, 5, 1]) @ np.array([[0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    for qform, sform, wanted in ((1, 1, []), (0, 1, []), (1, 0, []), (0, 0, ["no orientation"]), (1, 2, ["qform and"])):
        nifti = nibabel.Nifti1Image(values.T.astype(np.float32), np.diag([1.5, 1.25, 5, 1]))
        nifti.set_qform(np.diag([1.5, 1.25, 5, 1]), qform)
        nifti.set_sform(turned if wanted else nifti.affine, sform)
        nibabel.save(nifti, tmp_path / "scan.nii.gz")
        _, notes = read_scan(str(tmp_path / "scan.nii.gz"), channel="FLAIR")
        assert [note[: len(start)] for note, start in zip(notes, wanted, strict=True)] == wanted


def test_text_in_a_nifti_header_does_not_come_out(save_nifti, tmp_path, values):
    path = save_nifti(values.astype(np.float32), descrip=b"DOE^JANE", aux_file=b"DOE_19500101", db_name=b"DOE JANE")
    assert gzip.decompress(path.read_bytes()).count(b"DOE") == 3
    read, _ = read_scan(str(path), channel="FLAIR")
    assert read.GetMetaDataKeys() == ()
    for name in ("clean.nii", "clean.mha", "clean.nrrd"):
        sitk.WriteImage(read, str(tmp_path / name))
        assert b"DOE" not in (tmp_path / name).read_bytes()


def test_4d_dwi_needs_a_choice_and_takes_it(save_nifti, values):
    both = np.stack([values.T, values.T + 500], axis=3).astype(np.float32)
    path = save_nifti(both)
    assert "2 volumes (4D)" in (message := refusal(path)) and "--dwi-volume last" in message
    for choice, volume in (("last", 1), (2, 1), ("2", 1), (1, 0)):
        read, notes = read_scan(str(path), channel="DWI", dwi_volume=choice)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(read).T, both[..., volume])
        assert notes == [f"volume {volume + 1} of 2 taken"]
    for choice in (0, 3):
        assert f"a volume {choice}" in refusal(path, dwi_volume=choice)


def test_b_values_beside_a_4d_dwi_are_looked_at(save_nifti, values):
    path = save_nifti(np.stack([values.T + 500, values.T], axis=3).astype(np.float32))
    beside = path.with_name("scan.bval")
    beside.write_text("1000 0\n")
    assert "b = 1000, 0" in refusal(path, dwi_volume="last")
    assert read_scan(str(path), channel="DWI", dwi_volume=1)[1] == ["volume 1 of 2 taken", "b = 1000"]
    beside.write_text("0 1000")
    assert read_scan(str(path), channel="DWI", dwi_volume="last")[1] == ["volume 2 of 2 taken", "b = 1000"]
    for content in ("0 1000 2000", "b", None):
        beside.unlink()
        beside.write_text(content) if content else beside.symlink_to("nowhere")  # that is not absent
        assert "2 numbers" in refusal(path, dwi_volume="last")


def test_choice_of_a_dwi_volume_says_nothing_of_one_volume(save, save_nifti, image, values):
    read, notes = read_scan(str(save(image)), channel="DWI", dwi_volume="last")
    assert read.GetSize() == image.GetSize() and notes == []
    path = save_nifti(values.T[..., None].astype(np.float32))
    np.testing.assert_array_equal(read_array(path), values)


@pytest.mark.parametrize(
    ("channel", "message"), [("Tmax", "raw perfusion"), ("CBF", "raw perfusion"), ("FLAIR", "4D"), ("ADC", "4D")]
)
def test_series_of_another_channel_than_a_dwi_is_refused(save_nifti, values, channel, message):
    path = save_nifti(np.stack([values.T] * 6, axis=3).astype(np.float32))
    assert message in refusal(path, channel, dwi_volume="last")


def test_what_is_no_volume_is_refused(save, save_nifti, values, tmp_path):
    (tmp_path / "slice.dcm").write_bytes(bytes(200))
    colour = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 255, (4, 5, 6, 3), np.uint8), isVector=True)
    for source, message in (
        (tmp_path / "nowhere.nii.gz", "no such file"),
        (tmp_path / "slice.dcm", "of a DICOM series the folder"),
        (save(colour, "colour.nii.gz"), "colours"),
        (save(colour, "colour.mha"), "colours"),
        (save(values[:1]), "one slice"),
        (save_nifti(values[0].astype(np.float32), "flat.nii.gz"), "one slice"),
        (save(sitk.Image([4, 5, 6, 1, 2], sitk.sitkInt16), "scan.mha"), "5 dimensions"),
        (save(np.full_like(values, 7), "constant.mha"), "the value 7 in every voxel"),
    ):
        assert message in refusal(source, dwi_volume="last")


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.mha", "scan.nrrd"])
def test_truncated_file_is_refused(save, values, name):
    path = save(np.random.default_rng(1).normal(size=(20, 30, 10)).astype(np.float32), name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    message = refusal(path)
    assert "truncated" in message or "cannot be read" in message


def test_flipped_bit_in_a_packed_file_is_refused(save):
    path = save(np.random.default_rng(1).normal(size=(20, 30, 10)).astype(np.float32))
    content = bytearray(path.read_bytes())
    content[-20] ^= 4
    path.write_bytes(bytes(content))
    assert "damaged" in refusal(path)


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.mha", "scan.nrrd"])
def test_text_under_an_image_s_name_is_refused(tmp_path, name):
    (tmp_path / name).write_text("no image\n" * 100)
    refusal(tmp_path / name)
    (tmp_path / name).write_bytes(b"")
    refusal(tmp_path / name)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_counted(save, values, value):
    values[0, :2, 0] = value
    for name in ("scan.nii", "scan.nii.gz", "scan.mha"):  # of NIfTI, SimpleITK itself makes zeros
        assert "2 voxels" in refusal(save(values.astype(np.float32), name))


@pytest.mark.parametrize("name", ["map.nii.gz", "map.mha"])
@pytest.mark.parametrize("channel", ["ADC", "Tmax"])
def test_what_a_map_could_not_compute_is_0_and_said(save, values, name, channel):
    values[0, :2, 0] = np.nan
    image, notes = read_scan(str(save(values.astype(np.float32), name)), channel=channel)
    expected = np.nan_to_num(values.astype(np.float32))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), expected)
    assert notes == [f"NaN in {2 / values.size:.0%} of the voxels, taken for 0"]


def test_infinity_in_a_map_and_values_beyond_float32_are_refused(save, values):
    for value in (np.inf, 1e300):
        values[0, 0, 0] = value
        assert "1 voxels" in refusal(save(values, "map.mha"), channel="ADC")


def test_sheared_axes_are_refused(save_nifti, tmp_path, values):
    affine = np.eye(4)
    affine[0, 1] = 0.1
    assert "not at right angles" in refusal(save_nifti(values.T.astype(np.float32), affine=affine))
    header = "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 4 3 2\n"
    header += "space directions: (1,0,0) (0.1,1,0) (0,0,1)\nencoding: ascii\n\n"
    (tmp_path / "scan.nrrd").write_text(header + " ".join(map(str, range(24))) + "\n")
    assert "not at right angles" in refusal(tmp_path / "scan.nrrd")


class TestMask:
    @pytest.mark.parametrize("factor", [0, 1, 1000])
    @pytest.mark.parametrize("kind", [np.int16, np.float32, np.float64])
    def test_labels_are_kept(self, save, values, kind, factor):
        labels = (np.arange(values.size) % 4).reshape(values.shape) * factor
        mask = read_mask(str(save(labels.astype(kind))))
        assert mask.GetPixelID() == (sitk.sitkUInt16 if factor == 1000 else sitk.sitkUInt8)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(mask), labels)

    def test_rounding_of_a_scaled_header_is_mended(self, save, values):
        mask = read_mask(str(save(((values > 500) * 0.9999999).astype(np.float64))))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(mask), values > 500)

    @pytest.mark.parametrize("value", [0.5, -1, 70000])
    def test_values_that_are_no_labels_are_refused(self, save, values, value):
        labels = (values > 500).astype(np.float32)
        labels[0, 0, 0] = value
        assert f"the values {value:g}" in mask_refusal(save(labels))


class TestGeometry:
    """SimpleITK reads 1 mm for 0, NaN and infinity, and lets a negative edge give a negative volume."""

    @pytest.mark.parametrize(("place", "number", "message"), [
        *((80, edge, "a spacing of") for edge in (0, np.nan, np.inf, -2, 1e-3, 1e-30)), (280, np.nan, "direction"),
    ])  # fmt: skip
    @pytest.mark.parametrize("read", [refusal, mask_refusal], ids=["scan", "mask"])
    def test_edge_or_direction_of_a_voxel_that_is_none(self, save, values, place, number, message, read):
        path = save((values > 900).astype(np.uint8), "scan.nii")
        content = bytearray(path.read_bytes())
        struct.pack_into("<f", content, place, number)
        path.write_bytes(content)
        assert message in read(path)

    def test_negative_edge_of_a_metaimage(self, save, image):
        path = save(image, "scan.mha")
        path.write_bytes(path.read_bytes().replace(b"ElementSpacing = 1.5", b"ElementSpacing = -1.5"))
        assert "a spacing of -1.5 x 1.25 x 5 mm" in refusal(path)

    @pytest.mark.parametrize("edge", [b"0.001", b"0.000", b"-1.25", b"  nan"])
    def test_pixels_of_a_dicom_series(self, write_series, values, tmp_path, edge):
        folder = write_series(tmp_path / "series", values)
        for path in folder.iterdir():
            content = path.read_bytes()
            assert b"1.25\\1.5" in content
            path.write_bytes(content.replace(b"1.25\\1.5", edge + b"\\.5"))
        assert "a spacing of" in refusal(folder)


@pytest.mark.parametrize("factor", [3e38, 1e30, 1e-30])
def test_values_that_normalisation_loses(save, values, factor):
    scan = (values / 1000 * factor).clip(-3.3e38, 3.3e38).astype(np.float32)
    assert "after normalisation" in refusal(save(scan))


def test_small_and_large_units_are_kept(save, values):
    for factor in (1e-9, 1e9):  # an ADC map in m^2/s; counts of a detector
        read_scan(str(save((values * factor).astype(np.float32))), channel="DWI")
