from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_mgcl.data.images.voxel_hashes import voxel_hashes
from nnunet_mgcl.data.pool import duplicates as pool_duplicates
from nnunet_mgcl.data.pool.manifest import MANIFEST, Manifest
from nnunet_mgcl.data.prepare import prepare_dataset
from nnunet_mgcl.system.errors import UserError

CASES = [f"case_{n}" for n in range(6)]
VALIDATED = [["case_2"], ["case_1", "case_2"]]
"""Cases that the folds validate on; case_0 and others are in none."""


@pytest.fixture
def world(tiny_dataset, plans, monkeypatch):
    """The tiny dataset with `prepare()`, and the labelled images that it really reads."""
    validated = deepcopy(VALIDATED)
    lines, read = [], []
    original = pool_duplicates.read_images

    def counted(reader, files, remedy):
        read.append(files[0].name)
        return original(reader, files, remedy)

    monkeypatch.setattr(pool_duplicates, "read_images", counted)

    def prepare():
        splits = [{"train": [case for case in CASES if case not in val], "val": val} for val in validated]
        tiny_dataset.splits.write_text(json.dumps(splits))
        read.clear()
        lines.clear()
        return prepare_dataset(tiny_dataset, plans, "2d", 1, lines.append, progress=False, refresh=True).pool

    return SimpleNamespace(
        layout=tiny_dataset, plans=plans, prepare=prepare, lines=lines, read=read, validated=validated,
        train=tiny_dataset.raw / "imagesTr", pool=tiny_dataset.raw_unlabelled,
        folder=tiny_dataset.unlabelled("nnUNetPlans_2d"),
    )  # fmt: skip


def read_only(*_, **__):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def refused(world):
    with pytest.raises(UserError) as error:
        world.prepare()
    return error.value


def accepted(world):
    with Manifest(world.folder) as manifest:
        return {case for modality in ("DWI", "FLAIR", "PWI") for case in manifest.cases(modality)}


def test_voxels_are_equal_where_shape_and_float32_values_are():
    image = np.arange(24, dtype=np.int16).reshape(1, 2, 3, 4)
    hashes = voxel_hashes(image)
    assert voxel_hashes(image.astype(np.float64)) == hashes
    assert voxel_hashes(np.asfortranarray(image)) == hashes
    assert voxel_hashes(np.concatenate([image, image + 1]))[0] == hashes[0]
    assert voxel_hashes(np.concatenate([image, image + 1]))[1] != hashes[0]
    assert voxel_hashes(image.reshape(1, 3, 2, 4)) != hashes
    zero = np.zeros((1, 2, 2), np.float32)
    assert voxel_hashes(-zero) == voxel_hashes(zero)


class TestRefused:
    @pytest.mark.parametrize("disguise", ["none", "compression", "data type", "header"])
    @pytest.mark.parametrize("channel", [0, 2])
    def test_the_same_voxels_in_another_file(self, world, disguise, channel):
        source, target = world.train / "case_2_0000.nii.gz", world.pool / f"anon_{channel:04}.nii.gz"
        image = sitk.ReadImage(str(source))
        if disguise == "data type":
            image = sitk.Cast(image, sitk.sitkFloat64)
        elif disguise == "header":
            image.SetOrigin((5.0, 0.0, 0.0))
            image.SetSpacing((1.0, 1.0, 1.0))
        if disguise == "none":
            shutil.copy(source, target)
        elif disguise == "compression":
            target.write_bytes(gzip.compress(gzip.decompress(source.read_bytes()), 1))
        else:
            sitk.WriteImage(image, str(target))
        error = refused(world)
        assert error.where == str(target)
        assert str(source) in error.found and "fold 0, 1" in error.found and "imagesUn" in error.remedy
        assert "anon" not in accepted(world)

    def test_all_are_counted_and_the_others_accepted(self, world):
        for channel in range(3):
            shutil.copy(world.train / f"case_1_{channel:04}.nii.gz", world.pool / f"anon_{channel:04}.nii.gz")
        assert "2 more" in refused(world).found
        assert accepted(world) == {"pool_0", "pool_1", "pool_2", "case_0"}

    def test_labelled_image_that_comes_after_the_pool_was_prepared(self, world):
        world.prepare()
        shutil.copy(world.pool / "pool_1_0000.nii.gz", world.train / "case_2_0000.nii.gz")
        assert "pool_1_0000" in refused(world).where
        # A machine without the raw images does not use the case either.
        assert "pool_1" not in accepted(world)

    def test_training_case_that_a_later_split_validates_on(self, world):
        shutil.copy(world.train / "case_3_0000.nii.gz", world.pool / "anon_0000.nii.gz")
        assert "anon" in world.prepare()["DWI"]
        world.validated[0].append("case_3")
        assert "validated in fold 0" in refused(world).found

    def test_dataset_that_lists_its_images_in_dataset_json(self, world):
        elsewhere = world.layout.raw / "elsewhere"
        shutil.move(world.train, elsewhere)
        content = json.loads(world.layout.dataset_json.read_text())
        content["dataset"] = {
            case: {"label": f"labelsTr/{case}.nii.gz", "images": [f"elsewhere/{case}_{c:04}.nii.gz" for c in range(3)]}
            for case in CASES
        }
        world.layout.dataset_json.write_text(json.dumps(content))
        shutil.copy(elsewhere / "case_2_0000.nii.gz", world.pool / "anon_0000.nii.gz")
        assert str(elsewhere / "case_2_0000.nii.gz") in refused(world).found

    @pytest.mark.parametrize("link", [False, True])
    def test_labelled_image_that_cannot_be_read(self, world, link):
        """As git-annex leaves a link to nothing: what is not there is not known to be removed."""
        path = world.train / "case_2_0001.nii.gz"
        path.unlink()
        path.symlink_to("gone") if link else path.write_bytes(b"no image")
        assert refused(world).where == str(path)


class TestCost:
    def test_only_images_of_validation_cases_are_read_and_again_only_what_has_changed(self, world):
        world.prepare()
        assert sorted(world.read) == [f"case_{case}_{channel:04}.nii.gz" for case in (1, 2) for channel in range(3)]
        world.prepare()
        assert world.read == []
        os.utime(world.train / "case_1_0001.nii.gz", (1, 1))
        world.prepare()
        assert world.read == ["case_1_0001.nii.gz"]
        world.plans["image_reader_writer"] = "NibabelIO"
        world.prepare()
        assert len(world.read) == 6

    def test_killed_run_goes_on_where_it_was(self, world, monkeypatch):
        original = pool_duplicates.read_images

        def killed(*args):
            if len(world.read) == 4:
                raise KeyboardInterrupt
            return original(*args)

        monkeypatch.setattr(pool_duplicates, "read_images", killed)
        with pytest.raises(KeyboardInterrupt):
            world.prepare()
        monkeypatch.setattr(pool_duplicates, "read_images", original)
        world.prepare()
        assert len(world.read) == 2

    def test_without_a_pool_nothing_is_read(self, world):
        shutil.rmtree(world.pool)
        world.prepare()
        assert world.read == []


class TestOtherMachines:
    @pytest.mark.parametrize("older", [False, True])
    def test_dataset_that_was_moved_is_not_read_again_and_named_where_it_now_is(
        self, world, monkeypatch, older, older_content
    ):
        """Earlier versions noted absolute paths."""
        before = world.prepare()
        with Manifest(world.folder) as manifest:
            assert not any(map(os.path.isabs, manifest.labelled()))
        if older:
            content = older_content(world.folder, before)
            content["labelled"] = {str(world.layout.raw / key): entry for key, entry in content["labelled"].items()}
            (world.folder / "manifest.json").write_text(json.dumps(content))
            (world.folder / MANIFEST).unlink()
        raw = world.layout.raw.parent.with_name("elsewhere") / world.layout.raw.name
        shutil.move(world.layout.raw.parent, raw.parent)
        object.__setattr__(world.layout, "raw", raw)
        with monkeypatch.context() as patch:
            patch.setattr("nnunet_mgcl.data.pool.preprocess.run_lock", read_only)
            assert world.prepare() == before and world.read == []
        assert "DWI: 3 cases, 0 to preprocess" in " ".join(world.lines)
        shutil.copy(raw / "imagesTr" / "case_2_0001.nii.gz", raw / "imagesUn" / "anon_0001.nii.gz")
        assert str(raw / "imagesTr" / "case_2_0001.nii.gz") in refused(world).found

    def test_raw_labelled_images_that_are_not_here_are_mentioned(self, world):
        shutil.rmtree(world.train)
        world.prepare()
        assert any("not compared with 2 validation cases" in line and "case_1" in line for line in world.lines)

    def test_manifest_of_a_version_without_voxels_is_done_again(self, world, older_content):
        expected = world.prepare()
        content = older_content(world.folder, expected)
        del content["labelled"]
        for modality in content["modalities"].values():
            for entries in modality["cases"].values():
                for entry in entries:
                    del entry["voxels"]
        (world.folder / "manifest.json").write_text(json.dumps(content))
        (world.folder / MANIFEST).unlink()
        assert world.prepare() == expected
        assert "DWI: 3 cases, 3 to preprocess" in " ".join(world.lines)
        world.prepare()
        assert "DWI: 3 cases, 0 to preprocess" in " ".join(world.lines)

    def test_touched_pool_file_keeps_its_hash(self, world):
        world.prepare()
        os.utime(world.pool / "pool_1_0000.nii.gz", (1, 1))
        for _ in range(2):
            world.prepare()
            assert "DWI: 3 cases, 0 to preprocess" in " ".join(world.lines)
