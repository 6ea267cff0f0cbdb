from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import struct
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_mgcl.data.pool import case as pool_case
from nnunet_mgcl.data.pool import manifest as pool_manifest
from nnunet_mgcl.data.pool import preprocess as unlabelled_pool
from nnunet_mgcl.data.pool.preprocess import pool_cases, prepare_pool
from nnunet_mgcl.plan.plans import resolve_block
from nnunet_mgcl.system import run_lock as locks
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.run_lock import run_lock

POOL = {"DWI": ["case_0", "pool_0", "pool_1"], "FLAIR": ["pool_0", "pool_2"], "PWI": ["case_0", "pool_0", "pool_2"]}


@pytest.fixture
def world(tiny_dataset, plans, masks_json, monkeypatch):
    """The tiny dataset with `prepare()`, the log it writes and the cases it really preprocesses."""
    lines, done = [], []
    original = unlabelled_pool.preprocess

    def counted(job):
        done.append((job.modality, job.case))
        return original(job)

    monkeypatch.setattr(unlabelled_pool, "preprocess", counted)

    def prepare(num_processes=1):
        done.clear()
        lines.clear()
        config = resolve_block(plans, "2d", masks_json, True)
        return prepare_pool(
            tiny_dataset, plans, "2d", masks_json, config, [], num_processes, lines.append, progress=False
        )

    folder = tiny_dataset.unlabelled("nnUNetPlans_2d")
    return SimpleNamespace(
        layout=tiny_dataset, plans=plans, dataset_json=masks_json, prepare=prepare, lines=lines, done=done,
        folder=folder, raw=tiny_dataset.raw_unlabelled,
    )  # fmt: skip


def listed(world):
    content = json.loads((world.folder / "manifest.json").read_text())
    return {modality: sorted(entry["cases"]) for modality, entry in content["modalities"].items()}


def files(world):
    return sorted(str(path.relative_to(world.folder)) for path in world.folder.rglob("*.b2nd"))


def change(path):
    image = sitk.ReadImage(str(path))
    sitk.WriteImage(image * 2, str(path))


class TestFirstRun:
    def test_every_case_is_prepared_in_its_modalities(self, world):
        assert world.prepare() == POOL
        config = resolve_block(world.plans, "2d", world.dataset_json, True)
        assert pool_cases(world.layout, config, "nnUNetPlans_2d") == POOL

    def test_images_are_as_nnunet_preprocesses_the_channel(self, world):
        """FLAIR is channel 1 of the plan: CT normalisation with that channel's intensities, not channel 0's."""
        world.prepare()
        path = str(world.raw / "pool_0_0001.nii.gz")
        manager = PlansManager(world.plans)
        expected, _, _ = DefaultPreprocessor(verbose=False).run_case(
            [path, path, path], None, manager, manager.get_configuration("2d"), world.dataset_json
        )
        dataset = nnUNetDatasetBlosc2(str(world.folder / "FLAIR"))
        data, seg, _, properties = dataset.load_case("pool_0")
        assert data.shape == (1, 6, 32, 32) and seg.shape == (1, 6, 32, 32)
        assert np.array_equal(data[:], expected[1:2])
        assert properties["spacing"] == [6.0, 3.0, 3.0]

    def test_channels_of_one_modality_stay_together(self, world):
        world.dataset_json["labels"] = {"background": 0, "lesion": 1}
        world.dataset_json["mgcl"] = {"modalities": {"A": [2, 0], "B": [1]}}
        shutil.rmtree(world.raw)
        shutil.copytree(world.layout.raw / "imagesTr", world.raw)
        assert world.prepare() == {"A": [f"case_{n}" for n in range(6)], "B": [f"case_{n}" for n in range(6)]}
        data, *_ = nnUNetDatasetBlosc2(str(world.folder / "A")).load_case("case_3")
        labelled, *_ = nnUNetDatasetBlosc2(str(world.layout.preprocessed / "nnUNetPlans_2d")).load_case("case_3")
        # Only the normalisation without a mask is comparable: z-scores are taken inside each view's own mask.
        assert np.array_equal(data[0], labelled[2])
        assert data.shape[0] == 2

    @pytest.mark.slow
    def test_worker_processes_do_the_same(self, world, monkeypatch):
        monkeypatch.undo()  # a local function does not travel to a worker
        assert world.prepare(num_processes=2) == POOL

    def test_dataset_without_pool(self, world):
        shutil.rmtree(world.raw)
        assert world.prepare() == {"DWI": [], "FLAIR": [], "PWI": []}
        assert world.lines == ["No unlabelled pool (imagesUn)"]


class TestLaterRuns:
    def test_nothing_is_done_twice(self, world):
        world.prepare()
        assert world.prepare() == POOL and world.done == []

    def test_touched_but_equal_file_is_kept(self, world):
        world.prepare()
        os.utime(world.raw / "pool_1_0000.nii.gz", (1, 1))
        world.prepare()
        assert world.done == []

    def test_changed_file_is_done_again_alone(self, world):
        world.prepare()
        change(world.raw / "pool_0_0001.nii.gz")
        before = nnUNetDatasetBlosc2(str(world.folder / "FLAIR")).load_case("pool_0")[0][:]
        world.prepare()
        assert world.done == [("FLAIR", "pool_0")]
        assert not np.array_equal(nnUNetDatasetBlosc2(str(world.folder / "FLAIR")).load_case("pool_0")[0][:], before)

    def test_vanished_case_is_removed(self, world):
        world.prepare()
        (world.raw / "pool_1_0000.nii.gz").unlink()
        assert world.prepare()["DWI"] == ["case_0", "pool_0"]
        assert not list(world.folder.rglob("pool_1*"))
        assert world.done == []

    def test_changed_normalisation_redoes_that_modality_alone(self, world):
        world.prepare()
        world.plans["configurations"]["2d"]["normalization_schemes"][1] = "ZScoreNormalization"
        world.prepare()
        assert world.done == [("FLAIR", "pool_0"), ("FLAIR", "pool_2")]

    def test_other_batch_size_redoes_nothing(self, world):
        world.prepare()
        world.plans["configurations"]["2d"]["batch_size"] = 2
        world.prepare()
        assert world.done == []

    def test_other_nnunet_version_redoes_all(self, world, monkeypatch):
        world.prepare()
        monkeypatch.setattr(pool_case, "version", lambda _: "99")
        world.prepare()
        assert len(world.done) == 8

    def test_lost_file_is_made_again(self, world):
        world.prepare()
        (world.folder / "PWI" / "pool_2.pkl").unlink()
        world.prepare()
        assert world.done == [("PWI", "pool_2")]

    def test_finished_pool_in_a_read_only_folder_is_used_and_nothing_is_written(self, world, monkeypatch):
        """Datasets that a group shares often are; stock nnU-Net trains from them."""
        before = world.prepare()

        def read_only(*_, **__):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        monkeypatch.setattr(locks.FileLock, "acquire", read_only)
        monkeypatch.setattr(pool_manifest, "write_json", read_only)
        assert world.prepare() == before
        assert f"{world.folder} cannot be written to: used as it is" in world.lines
        (world.raw / "pool_1_0000.nii.gz").unlink()
        with pytest.raises(OSError, match="Read-only"):
            world.prepare()

    def test_finished_pool_in_a_read_only_folder_goes_on_after_the_raw_files_were_copied(self, world, monkeypatch):
        """Other times of the files are worth remembering, but change nothing."""
        before = world.prepare()
        for path in world.raw.iterdir():
            os.utime(path, (1, 1))

        def read_only(*_, **__):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        monkeypatch.setattr(pool_manifest, "write_json", read_only)
        assert world.prepare() == before and world.done == []

    def test_preprocessed_pool_is_used_where_the_raw_one_is_absent(self, world):
        world.prepare()
        shutil.rmtree(world.raw)
        assert world.prepare() == POOL
        assert len(world.lines) == 1 and "preprocessed pool" in world.lines[0]

    def test_raw_pool_absent_and_plan_changed_is_refused(self, world):
        world.prepare()
        shutil.rmtree(world.raw)
        world.plans["configurations"]["2d"]["spacing"] = [2.0, 2.0]
        with pytest.raises(UserError, match="another plan"):
            world.prepare()


class TestDamage:
    """What is checked for labelled files is checked for the pool."""

    @pytest.mark.parametrize("suffix", [".b2nd", "_seg.b2nd", ".pkl"])
    def test_truncated_file_is_made_again(self, world, suffix):
        world.prepare()
        path = world.folder / "FLAIR" / f"pool_2{suffix}"
        path.write_bytes(path.read_bytes()[:200])
        assert world.prepare() == POOL and world.done == [("FLAIR", "pool_2")]
        assert nnUNetDatasetBlosc2(str(world.folder / "FLAIR")).load_case("pool_2")[0][:].shape == (1, 6, 32, 32)

    @pytest.mark.parametrize("suffix", [".b2nd", "_seg.b2nd", ".pkl"])
    def test_without_the_raw_pool_it_is_refused_by_name(self, world, suffix):
        world.prepare()
        shutil.rmtree(world.raw)
        path = world.folder / "FLAIR" / f"pool_2{suffix}"
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(UserError, match=r"FLAIR/pool_2\n +found: +cannot be read[\s\S]*put imagesUn back"):
            world.prepare()

    def test_case_of_another_number_of_channels_is_made_again(self, world):
        world.prepare()
        shutil.copy(
            world.layout.preprocessed / "nnUNetPlans_2d" / "case_0.b2nd", world.folder / "FLAIR" / "pool_2.b2nd"
        )
        world.prepare()
        assert world.done == [("FLAIR", "pool_2")]

    def test_folder_of_another_program_stays(self, world):
        world.prepare()
        thumbnails = world.folder / "FLAIR" / "@eaDir" / "pool_0.b2nd"
        thumbnails.parent.mkdir()
        thumbnails.touch()
        (world.folder / ".ipynb_checkpoints").mkdir()
        assert world.prepare() == POOL and world.done == []
        assert thumbnails.exists()

    @pytest.mark.parametrize("with_raw", [True, False])
    def test_link_to_a_drive_that_is_away_is_no_missing_pool(self, world, with_raw):
        world.prepare()
        shutil.rmtree(world.folder)
        world.folder.symlink_to("gone")
        if not with_raw:
            shutil.rmtree(world.raw)
        with pytest.raises(UserError) as refusal:
            world.prepare()
        assert refusal.value.where == str(world.folder) and world.folder.is_symlink()


class TestNoRoom:
    @pytest.fixture
    def small_files(self):
        """The system writes no file above 2 kB, as with `ulimit -f`."""
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2048, before[1]))
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    def test_limit_on_the_size_of_files_is_one_message_with_the_file(self, world, small_files, monkeypatch):
        monkeypatch.setattr(pool_manifest, "write_json", lambda *_: None)
        small_files()
        with pytest.raises(UserError) as refusal:
            world.prepare()
        error = refusal.value
        assert error.where == str(world.folder / "DWI" / "case_0.b2nd")
        assert "File too large" in error.found and "raise the limit" in error.remedy
        assert len(world.done) == 1  # the others would fail too


class TestInterruption:
    def test_killed_run_goes_on_where_it_was(self, world, monkeypatch):
        original = unlabelled_pool.preprocess

        def killed(job):
            if len(world.done) == 3:
                # What a kill in the middle of a case leaves: a file that looks like a whole one.
                job.output.with_suffix(".b2nd").write_bytes(b"half")
                raise KeyboardInterrupt
            return original(job)

        monkeypatch.setattr(unlabelled_pool, "preprocess", killed)
        with pytest.raises(KeyboardInterrupt):
            world.prepare()
        assert sum(map(len, listed(world).values())) == 3
        monkeypatch.setattr(unlabelled_pool, "preprocess", original)
        assert world.prepare() == POOL
        for modality, cases in POOL.items():
            for case in cases:
                assert nnUNetDatasetBlosc2(str(world.folder / modality)).load_case(case)[0][:].shape == (1, 6, 32, 32)

    def test_files_that_the_manifest_does_not_list_do_not_count(self, world):
        world.prepare()
        manifest = world.folder / "manifest.json"
        manifest.unlink()
        config = resolve_block(world.plans, "2d", world.dataset_json, True)
        assert pool_cases(world.layout, config, "nnUNetPlans_2d") == {"DWI": [], "FLAIR": [], "PWI": []}
        assert world.prepare() == POOL and len(world.done) == 8

    def test_second_process_waits_and_says_so(self, tmp_path):
        lines = []
        with run_lock(tmp_path / ".lock", tmp_path, "process", lines.append):
            pid = os.fork()
            if pid == 0:
                said = []

                class Waits(Exception):
                    pass

                def log(line):
                    said.append(line)
                    raise Waits

                try:
                    with run_lock(tmp_path / ".lock", tmp_path, "process", log):
                        os._exit(1)
                except Waits:
                    os._exit(0 if "Waiting" in said[0] else 2)
            _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0 and not lines


class TestWrongImages:
    def spoil(self, world, array, name="pool_1_0000"):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((3.0, 3.0, 6.0, 1.0)[: array.ndim])
        sitk.WriteImage(image, str(world.raw / f"{name}.nii.gz"))

    def refused(self, world, match):
        with pytest.raises(UserError, match=match) as error:
            world.prepare()
        return error.value

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_nan_and_infinity(self, world, value):
        array = np.random.default_rng(0).normal(size=(6, 32, 32)).astype(np.float32)
        array[3, 3, 3] = value
        self.spoil(world, array)
        assert "pool_1_0000.nii.gz" in self.refused(world, "NaN or infinite").where

    def test_constant_image(self, world):
        self.spoil(world, np.zeros((6, 32, 32), np.float32))
        assert "pool_1_0000.nii.gz" in self.refused(world, "one value in all voxels").where

    def test_volume_over_time(self, world):
        self.spoil(world, np.random.default_rng(0).normal(size=(2, 6, 32, 32)).astype(np.float32))
        assert "pool_1_0000.nii.gz" in self.refused(world, "one 3d volume a file").where

    @pytest.mark.parametrize("factor", [3.3e38 / 50, 1e30, 1e-30])
    def test_values_that_normalisation_loses(self, world, factor):
        array = np.random.default_rng(0).normal(10, 10, size=(6, 32, 32)).clip(-50, 50)
        self.spoil(world, (array * factor).astype(np.float32))
        assert "pool_1_0000.nii.gz" in self.refused(world, "after normalisation").where

    @pytest.mark.parametrize("edge", [0, np.nan, np.inf, -3, 1e-3, 1e-30, 1e30])
    @pytest.mark.parametrize("ending", [".nii", ".mha"])
    def test_edge_of_a_voxel_that_is_none(self, world, ending, edge):
        path = self.with_header(world, ending, nifti=(80, "<f", edge), mha=("ElementSpacing = 3", edge))
        assert self.refused(world, "a spacing of").where == str(path)

    @pytest.mark.parametrize("ending", [".nii", ".mha"])
    def test_axis_without_voxels(self, world, ending):
        path = self.with_header(world, ending, nifti=(42, "<h", 0), mha=("DimSize = 32", 0))
        assert self.refused(world, "a size of 0 x 32 x 6 voxels").where == str(path)

    def test_direction_that_is_none(self, world):
        path = self.with_header(world, ".nii", nifti=(280, "<f", np.nan), mha=("", 0))
        assert self.refused(world, "origin or direction").where == str(path)

    def with_header(self, world, ending, nifti, mha):
        """A pool of one image with another number in its header: at a byte of NIfTI, after some text of MetaImage."""
        shutil.rmtree(world.raw)
        world.raw.mkdir()
        world.dataset_json["file_ending"] = ending
        path = world.raw / f"x_0000{ending}"
        image = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=(6, 32, 32)).astype(np.float32))
        image.SetSpacing((3.0, 3.0, 6.0))
        sitk.WriteImage(image, str(path))
        content = bytearray(path.read_bytes())
        if ending == ".nii":
            struct.pack_into(nifti[1], content, nifti[0], nifti[2])
        else:
            name = mha[0].rpartition(" ")[0]
            content = content.replace(mha[0].encode(), f"{name} {mha[1]}".encode(), 1)
        path.write_bytes(content)
        return path

    def test_flat_image_among_volumes(self, world):
        flat = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)
        self.spoil(world, flat)
        assert "pool_1_0000.nii.gz" in self.refused(world, "a 2d image").where
        self.spoil(world, flat[None])  # a volume of one slice
        assert world.prepare() == POOL
        self.spoil(world, flat)
        world.plans["original_median_shape_after_transp"] = [1, 32, 32]
        assert world.prepare() == POOL

    @pytest.mark.parametrize("left", [0.9, 0.1, 0])
    def test_truncated_file(self, world, left):
        path = world.raw / "pool_1_0000.nii.gz"
        content = path.read_bytes()
        path.write_bytes(content[: int(left * len(content))])
        assert "pool_1_0000.nii.gz" in self.refused(world, "cannot be read").where

    @pytest.mark.parametrize("ending", [".nrrd", ".nii"])
    @pytest.mark.parametrize("mistake", ["NaN or infinite", "cannot be read", "one value"])
    def test_other_file_formats(self, world, ending, mistake):
        shutil.rmtree(world.raw)
        world.raw.mkdir()
        world.dataset_json["file_ending"] = ending
        array = np.random.default_rng(0).normal(size=(6, 32, 32)).astype(np.float32)
        if mistake == "NaN or infinite":
            array[3, 3, 3] = np.nan
        elif mistake == "one value":
            array[:] = 7
        path = world.raw / f"x_0000{ending}"
        sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
        if mistake == "cannot be read":
            path.write_bytes(path.read_bytes()[:9000])
        assert str(path) in self.refused(world, mistake).where

    def test_others_are_prepared_and_all_wrong_ones_counted(self, world):
        for name in ("pool_1_0000", "pool_2_0001"):
            self.spoil(world, np.zeros((6, 32, 32), np.float32), name)
        self.refused(world, "1 more images are wrong")
        assert listed(world) == POOL | {"DWI": ["case_0", "pool_0"], "FLAIR": ["pool_0"]}
