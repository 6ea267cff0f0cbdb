import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_mgcl.data.images.files import check_stem, write_image
from nnunet_mgcl.system.errors import UserError


@pytest.fixture
def image():
    return sitk.GetImageFromArray(np.random.default_rng(0).normal(size=(8, 32, 32)).astype(np.float32))


def cut(monkeypatch, share):
    """ITK on a full disk: less than all, and no word about it."""
    write = sitk.WriteImage

    def write_a_part(image, path):
        write(image, path)
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])

    monkeypatch.setattr(sitk, "WriteImage", write_a_part)


@pytest.mark.parametrize("name", ["image.nii.gz", "image.nii"])
@pytest.mark.parametrize("share", [0, 0.5, 0.98])
def test_an_image_that_is_not_whole_takes_no_place(image, name, share, tmp_path, monkeypatch):
    write_image(tmp_path / name, image)
    before = (tmp_path / name).read_bytes()
    cut(monkeypatch, share)
    with pytest.raises(UserError, match="whole"):
        write_image(tmp_path / name, image + 1)
    assert (tmp_path / name).read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.NII", "a.hdr", "a.img.gz", "a.nia", "nii", "a.nii.nii"])
def test_name_under_which_itk_writes_no_file_is_refused(image, name, tmp_path):
    with pytest.raises(UserError, match="whole"):
        write_image(tmp_path / f"{name}.nii.gz", image)
    with pytest.raises(UserError, match="folder") as error:
        check_stem(name, ".nii.gz", "folder")
    assert repr(name) in error.value.found


@pytest.mark.parametrize("name", ["a", "a.mha", "a.nii_b", "anii", "img_1", "a.1"])
def test_name_under_which_itk_writes_the_file_is_taken(image, name, tmp_path):
    check_stem(name, ".nii.gz", "folder")
    check_stem("a.nii", ".mha", "folder")
    path = tmp_path / "new" / f"{name}.nii.gz"
    write_image(path, image)
    np.testing.assert_array_equal(*map(sitk.GetArrayFromImage, (sitk.ReadImage(path), image)))
