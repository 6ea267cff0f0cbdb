from __future__ import annotations

import errno
import os
import resource
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_mgcl.data.cases.modality_dataset import PoolCase
from nnunet_mgcl.data.pool import case as pool_case
from nnunet_mgcl.data.pool import work as pool_work
from nnunet_mgcl.data.pool.manifest import MANIFEST
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.run_lock import run_lock


def image_of(world, modality, case):
    return nnUNetDatasetBlosc2(str(world.folder / modality)).load_case(case)[0][:]


def read_only(*_, **__):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


class TestFirstRun:
    def test_every_case_is_prepared_in_its_modalities(self, world):
        assert world.prepare() == world.cases() == world.expected

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
        assert world.prepare() == {name: [f"case_{n}" for n in range(6)] for name in "AB"}
        data = image_of(world, "A", "case_3")
        labelled, *_ = nnUNetDatasetBlosc2(str(world.layout.preprocessed / "nnUNetPlans_2d")).load_case("case_3")
        # Only the normalisation without a mask is comparable: z-scores are taken inside each view's own mask.
        assert np.array_equal(data[0], labelled[2])
        assert data.shape[0] == 2

    @pytest.mark.slow
    def test_worker_processes_do_the_same(self, world, monkeypatch):
        monkeypatch.undo()  # a local function does not travel to a worker
        assert world.prepare(num_processes=2) == world.expected


class TestLaterRuns:
    @pytest.mark.parametrize(
        ("change", "done"),
        [
            (lambda world: None, []),
            (lambda world: os.utime(world.raw / "pool_1_0000.nii.gz", (1, 1)), []),
            (lambda world: world.plans["configurations"]["2d"].update(batch_size=2), []),
            (lambda world: (world.folder / "PWI" / "pool_2.pkl").unlink(), [("PWI", "pool_2")]),
            (
                lambda world: shutil.copy(
                    world.layout.preprocessed / "nnUNetPlans_2d" / "case_0.b2nd", world.folder / "FLAIR" / "pool_2.b2nd"
                ),
                [("FLAIR", "pool_2")],
            ),
            (
                lambda world: world.plans["configurations"]["2d"]["normalization_schemes"].__setitem__(
                    1, "ZScoreNormalization"
                ),
                [("FLAIR", "pool_0"), ("FLAIR", "pool_2")],
            ),
        ],
        ids=["nothing", "touched file", "batch size", "lost file", "another number of channels", "normalisation"],
    )
    def test_only_what_has_changed_is_done_again(self, world, change, done):
        world.prepare()
        change(world)
        assert world.prepare() == world.expected and world.done == done

    def test_changed_file_is_done_again_alone(self, world):
        world.prepare()
        before, path = image_of(world, "FLAIR", "pool_0"), str(world.raw / "pool_0_0001.nii.gz")
        sitk.WriteImage(sitk.ReadImage(path) * 2, path)
        world.prepare()
        assert world.done == [("FLAIR", "pool_0")]
        assert not np.array_equal(image_of(world, "FLAIR", "pool_0"), before)

    def test_vanished_case_is_removed(self, world):
        world.prepare()
        (world.raw / "pool_1_0000.nii.gz").unlink()
        assert world.prepare()["DWI"] == ["case_0", "pool_0"]
        assert not list(world.folder.rglob("pool_1*")) and world.done == []

    def test_other_nnunet_version_redoes_all(self, world, monkeypatch):
        world.prepare()
        monkeypatch.setattr(pool_case, "version", lambda _: "99")
        world.prepare()
        assert len(world.done) == 8

    @pytest.mark.parametrize("touched", [False, True])
    def test_finished_pool_in_a_read_only_folder_is_used(self, world, monkeypatch, touched):
        """Datasets that a group shares often are. Touched files are worth remembering, but change nothing."""
        before = world.prepare()
        for path in world.raw.iterdir() if touched else ():
            os.utime(path, (1, 1))
        monkeypatch.setattr("nnunet_mgcl.data.pool.preprocess.run_lock", read_only)
        assert world.prepare() == before and world.done == []
        assert any("cannot be written to" in line for line in world.lines)

    def test_preprocessed_pool_is_used_where_the_raw_one_is_absent_unless_the_plan_has_changed(self, world):
        world.prepare()
        shutil.rmtree(world.raw)
        assert world.prepare() == world.expected
        assert len(world.lines) == 1 and "preprocessed pool" in world.lines[0]
        world.plans["configurations"]["2d"]["spacing"] = [2.0, 2.0]
        with pytest.raises(UserError, match="another plan"):
            world.prepare()


class TestDamage:
    """What is checked for labelled files is checked for the pool."""

    @pytest.mark.parametrize("suffix", [".b2nd", "_seg.b2nd", ".pkl"])
    def test_truncated_file_is_made_again_or_refused_by_name_without_the_raw_pool(self, world, suffix):
        world.prepare()
        path = world.folder / "FLAIR" / f"pool_2{suffix}"
        path.write_bytes(path.read_bytes()[:200])
        assert world.prepare() == world.expected and world.done == [("FLAIR", "pool_2")]
        assert image_of(world, "FLAIR", "pool_2").shape == (1, 6, 32, 32)
        path.write_bytes(path.read_bytes()[:200])
        shutil.rmtree(world.raw)
        assert world.prepare() == world.expected  # no case is opened at a start
        with pytest.raises(UserError, match=r"FLAIR/pool_2\n +found: +cannot be read[\s\S]*mgcl prepare"):
            PoolCase("pool_2", world.folder / "FLAIR", None).load()

    def test_folder_of_another_program_stays(self, world):
        world.prepare()
        thumbnails = world.folder / "FLAIR" / "@eaDir" / "pool_0.b2nd"
        thumbnails.parent.mkdir()
        thumbnails.touch()
        (world.folder / ".ipynb_checkpoints").mkdir()
        assert world.prepare() == world.expected and world.done == []
        assert thumbnails.exists()

    @pytest.mark.parametrize("with_raw", [True, False])
    def test_link_to_a_drive_that_is_away_is_no_missing_pool(self, world, with_raw):
        world.folder.symlink_to("gone")
        if not with_raw:
            shutil.rmtree(world.raw)
        with pytest.raises(UserError) as refusal:
            world.prepare()
        assert refusal.value.where == str(world.folder) and world.folder.is_symlink()

    def test_limit_on_the_size_of_files_is_one_message_with_the_file(self, world, monkeypatch):
        """The system writes no file above 2 kB, as with `ulimit -f`."""
        before, original = resource.getrlimit(resource.RLIMIT_FSIZE), pool_work.preprocess

        def limited(job):
            resource.setrlimit(resource.RLIMIT_FSIZE, (2048, before[1]))  # not before: a manifest is larger
            return original(job)

        monkeypatch.setattr(pool_work, "preprocess", limited)
        try:
            with pytest.raises(UserError, match=r"File too large[\s\S]*raise the limit") as refusal:
                world.prepare()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert refusal.value.where == str(world.folder / "DWI" / "case_0.b2nd")
        assert len(world.done) == 1  # the others would fail too


class TestInterruption:
    def test_killed_run_goes_on_where_it_was(self, world, monkeypatch):
        original = pool_work.preprocess

        def killed(job):
            if len(world.done) == 3:
                # What a kill in the middle of a case leaves: a file that looks like a whole one.
                job.output.with_suffix(".b2nd").write_bytes(b"half")
                raise KeyboardInterrupt
            return original(job)

        monkeypatch.setattr(pool_work, "preprocess", killed)
        with pytest.raises(KeyboardInterrupt):
            world.prepare()
        assert sum(map(len, world.cases().values())) == 3
        monkeypatch.setattr(pool_work, "preprocess", original)
        assert world.prepare() == world.expected
        shapes = {image_of(world, modality, case).shape for modality, cases in world.expected.items() for case in cases}
        assert shapes == {(1, 6, 32, 32)}

    def test_files_that_the_manifest_does_not_list_do_not_count(self, world):
        world.prepare()
        (world.folder / MANIFEST).unlink()
        assert world.cases() == {"DWI": [], "FLAIR": [], "PWI": []}
        assert world.prepare() == world.expected and len(world.done) == 8

    def test_second_process_waits_and_says_so(self, world):
        with run_lock(world.folder / ".lock", world.folder, "process"):
            pid = os.fork()
            if pid == 0:

                def waits(line):
                    os._exit(0 if "Waiting" in line else 2)

                with run_lock(world.folder / ".lock", world.folder, "process", waits):
                    os._exit(1)
            _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
