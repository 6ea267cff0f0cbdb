"""What a start of training looks at where the pool is prepared, and what it then notices."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import SimpleITK as sitk

from nnunet_mgcl.data.pool import preprocess as pool_preprocess
from nnunet_mgcl.data.pool import refresh as pool_refresh
from nnunet_mgcl.data.pool.manifest import MANIFEST, Manifest, pool_digests
from nnunet_mgcl.system.errors import UserError


def age(world):
    """As if nobody had changed imagesUn lately."""
    os.utime(world.raw, (1, 1))


@pytest.fixture
def ready(world):
    age(world)
    world.prepare()
    return world


@pytest.fixture
def blind(monkeypatch):
    """Whoever looks at a file of the pool fails."""

    def looked(*_, **__):
        raise AssertionError("a file of the pool was looked at")

    monkeypatch.setattr(pool_preprocess, "scan_pool", looked)
    monkeypatch.setattr(pool_refresh, "open_case", looked)
    monkeypatch.setattr(pool_refresh, "_describe", looked)


def double(path):
    sitk.WriteImage(sitk.ReadImage(str(path)) * 2, str(path))


def test_no_file_of_an_unchanged_pool_is_looked_at(ready, blind):
    assert ready.prepare(refresh=False) == ready.expected


def test_channels_under_their_older_name_are_the_same(ready, blind):
    """`modality` in the place of `channel_names`, as nnU-Net's older datasets have it."""
    ready.dataset_json["modality"] = ready.dataset_json.pop("channel_names")
    assert ready.prepare(refresh=False) == ready.expected


def test_without_raw_images_no_file_is_looked_at_either(ready, blind):
    shutil.rmtree(ready.raw)
    assert ready.prepare(refresh=False) == ready.expected


@pytest.mark.parametrize(
    ("change", "done"),
    [
        (lambda world: (world.raw / "pool_1_0000.nii.gz").rename(world.raw / "new_0000.nii.gz"), [("DWI", "new")]),
        (lambda world: world.dataset_json["channel_names"].update({"0": "b1000"}), []),
        (lambda world: world.plans["configurations"]["2d"].update(spacing=[2.0, 2.0]), "all"),
        (lambda world: (world.folder / MANIFEST).unlink(), "all"),
    ],
    ids=["a new file", "channels", "plan", "no manifest"],
)
def test_what_may_need_work_is_looked_at(ready, change, done, monkeypatch):
    seen, scan = [], pool_preprocess.scan_pool
    monkeypatch.setattr(pool_preprocess, "scan_pool", lambda *args: (seen.append(1), scan(*args))[1])
    change(ready)
    ready.prepare(refresh=False)
    assert seen and (len(ready.done) == 8 if done == "all" else ready.done == done)


def test_file_that_was_overwritten_in_place_is_noticed_by_mgcl_prepare_alone(ready):
    before = pool_digests(ready.folder, ["DWI", "FLAIR"])
    double(ready.raw / "pool_0_0001.nii.gz")
    age(ready)
    ready.prepare(refresh=False)
    assert ready.done == [] and pool_digests(ready.folder, ["DWI", "FLAIR"]) == before
    ready.prepare()
    assert ready.done == [("FLAIR", "pool_0")]
    after = pool_digests(ready.folder, ["DWI", "FLAIR"])
    assert after["FLAIR"] != before["FLAIR"] and after["DWI"] == before["DWI"]


def test_folder_that_has_just_changed_may_change_again_in_the_same_moment(world):
    world.prepare()
    os.utime(world.raw)
    world.prepare()
    with Manifest(world.folder) as manifest:
        assert manifest.note("prepared")["imagesUn"] is None
    shutil.copy(world.raw / "pool_1_0000.nii.gz", world.raw / "new_0000.nii.gz")
    assert "new" in world.prepare(refresh=False)["DWI"]


def test_pool_with_a_wrong_image_is_looked_at_again(world):
    path = world.raw / "pool_1_0000.nii.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:300])
    age(world)
    for _ in range(2):
        with pytest.raises(UserError, match="pool_1_0000"):
            world.prepare(refresh=False)
    path.write_bytes(whole)
    age(world)
    assert world.prepare(refresh=False) == world.expected


def test_slices_are_noted(ready):
    with Manifest(ready.folder) as manifest:
        assert manifest.slices("DWI") == {"case_0": 6, "pool_0": 6, "pool_1": 6}


class TestEarlierVersion:
    @pytest.fixture
    def older(self, ready, older_content):
        """The pool as an earlier version would have left it."""
        path = ready.folder / "manifest.json"
        path.write_text(json.dumps(older_content(ready.folder, ready.expected)))
        (ready.folder / MANIFEST).unlink()
        return ready

    @pytest.mark.parametrize("with_raw", [True, False])
    def test_its_manifest_is_converted_once_and_stays(self, older, with_raw):
        if not with_raw:
            shutil.rmtree(older.raw)
        digests, before = pool_digests(older.folder, older.expected), (older.folder / "manifest.json").read_bytes()
        for _ in range(2):
            assert older.prepare(refresh=False) == older.expected and older.done == []
        assert pool_digests(older.folder, older.expected) == digests
        assert (older.folder / "manifest.json").read_bytes() == before
        (older.folder / "manifest.json").unlink()
        assert older.prepare(refresh=False) == older.expected and older.done == []
        with Manifest(older.folder) as manifest:
            assert set(manifest.slices("DWI").values()) == ({6} if with_raw else {None})

    def test_in_a_folder_that_cannot_be_written_to_it_is_read(self, older, monkeypatch):
        shutil.rmtree(older.raw)
        monkeypatch.setattr(pool_preprocess, "run_lock", refuse)
        assert older.prepare(refresh=False) == older.expected
        assert not (older.folder / MANIFEST).exists()


def refuse(*_, **__):
    raise PermissionError(13, "Permission denied")


class TestReadOnlyFolder:
    def test_vanished_case_is_not_trained_on_in_silence(self, ready, monkeypatch):
        (ready.raw / "pool_1_0000.nii.gz").unlink()
        monkeypatch.setattr(pool_preprocess, "run_lock", refuse)
        with pytest.raises(UserError, match=r"manifest\.sqlite\n +found: +cannot be written"):
            ready.prepare(refresh=False)

    def test_transaction_that_was_killed_half_way_is_not_read(self, ready, monkeypatch):
        (ready.folder / f"{MANIFEST}-journal").write_bytes(b"half")
        monkeypatch.setattr("nnunet_mgcl.data.pool.manifest.os.access", lambda _, mode: mode != os.W_OK)
        with pytest.raises(UserError, match="killed half-way"):
            ready.cases()
