from __future__ import annotations

import shutil
import struct

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_mgcl.system.errors import UserError

NOISE = np.random.default_rng(0).normal(10, 10, size=(6, 32, 32)).clip(-50, 50).astype(np.float32)


def with_voxel(value):
    array = NOISE.copy()
    array[3, 3, 3] = value
    return array


class TestWrongImages:
    def spoil(self, world, array, name="pool_1_0000"):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((3.0, 3.0, 6.0, 1.0)[: array.ndim])
        sitk.WriteImage(image, str(world.raw / f"{name}.nii.gz"))

    def only_image(self, world, array, ending):
        """A pool of one image."""
        shutil.rmtree(world.raw)
        world.raw.mkdir()
        world.dataset_json["file_ending"] = ending
        path = world.raw / f"x_0000{ending}"
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((3.0, 3.0, 6.0))
        sitk.WriteImage(image, str(path))
        return path

    def refused(self, world, match):
        with pytest.raises(UserError, match=match) as error:
            world.prepare()
        return error.value.where

    @pytest.mark.parametrize("ending", [".nii", ".mha"])
    @pytest.mark.parametrize(
        ("nifti", "mha", "found"),
        [
            *(((80, "<f", edge), ("ElementSpacing = 3", edge), "a spacing of") for edge in (0, np.nan, -3, 1e30)),
            ((42, "<h", 0), ("DimSize = 32", 0), "a size of 0 x 32 x 6 voxels"),
            ((280, "<f", np.nan), ("TransformMatrix = 1", np.nan), "origin or direction|cannot be read"),
        ],
    )
    def test_headers_without_a_geometry(self, world, ending, nifti, mha, found):
        """Another number at a byte of NIfTI, or after some text of MetaImage."""
        path = self.only_image(world, NOISE, ending)
        content = bytearray(path.read_bytes())
        if ending == ".nii":
            struct.pack_into(nifti[1], content, nifti[0], nifti[2])
        else:
            content = content.replace(mha[0].encode(), f"{mha[0].rpartition(' ')[0]} {mha[1]}".encode(), 1)
        path.write_bytes(content)
        assert self.refused(world, found) == str(path)

    def test_flat_image_among_volumes(self, world):
        self.spoil(world, NOISE[0])
        assert "pool_1_0000.nii.gz" in self.refused(world, "a 2d image")
        self.spoil(world, NOISE[:1])  # a volume of one slice
        assert world.prepare() == world.expected
        self.spoil(world, NOISE[0])
        world.plans["original_median_shape_after_transp"] = [1, 32, 32]
        assert world.prepare() == world.expected

    @pytest.mark.parametrize("ending", [".nrrd", ".nii"])
    @pytest.mark.parametrize(
        ("array", "mistake"),
        [(with_voxel(np.nan), "NaN or infinite"), (NOISE, "cannot be read"), (0 * NOISE, "one value")],
    )
    def test_other_file_formats(self, world, ending, array, mistake):
        path = self.only_image(world, array, ending)
        if mistake == "cannot be read":
            path.write_bytes(path.read_bytes()[:9000])
        assert str(path) in self.refused(world, mistake)

    def test_others_are_prepared_and_all_wrong_ones_counted(self, world):
        for name in ("pool_1_0000", "pool_2_0001"):
            self.spoil(world, 0 * NOISE, name)
        self.refused(world, "1 more images are wrong")
        assert world.cases() == world.expected | {"DWI": ["case_0", "pool_0"], "FLAIR": ["pool_0"]}
