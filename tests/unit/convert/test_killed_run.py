"""What a run leaves that failed, was killed or met the files of others; and that it names no source."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
from concurrent.futures import Future
from pathlib import Path

import pytest
import SimpleITK as sitk

from nnunet_mgcl.convert import run as module
from nnunet_mgcl.convert.output import case_files
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.run_lock import run_lock


def test_files_of_the_dataset_that_somebody_changed_are_converted_again(run):
    run()
    (run.dataset / "labelsTr" / "a.nii.gz").unlink()
    assert run().converted == ["a"]
    assert (run.dataset / "labelsTr" / "a.nii.gz").exists()


def test_a_run_that_fails_as_a_whole_leaves_no_dataset(run, monkeypatch):
    def interrupted(jobs, _):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "convert_cases", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert not run.dataset.exists()
    (run.dataset / "mgcl_convert").mkdir(parents=True)
    (run.dataset / "notes.txt").write_text("mine")
    with pytest.raises(KeyboardInterrupt):
        run()
    assert [path.name for path in run.dataset.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("killed", [False, True])
def test_a_case_that_fails_after_its_source_has_changed_leaves_nothing_stale(run, raw_scans, monkeypatch, killed):
    run()
    good = (raw_scans / "a_dwi.nii.gz").read_bytes()
    (raw_scans / "a_dwi.nii.gz").write_bytes(good[:1000])
    dead = Future()
    dead.set_exception(UserError("case a", "its process was killed", "", ""))
    with monkeypatch.context() as patch:
        if killed:
            patch.setattr(module, "convert_cases", lambda jobs, _: ((job.row.case, dead) for job in jobs))
        outcome = run()
    assert list(outcome.failures) == ["a"] and not outcome.complete
    assert not [name for name in run.files() if Path(name).name.startswith("a")]
    assert run.json()["numTraining"] == 1
    (raw_scans / "a_dwi.nii.gz").write_bytes(good)
    assert run().complete


def test_no_output_names_a_source_or_holds_a_headers_text(run, raw_scans, tmp_path):
    secret = tmp_path / "Mustermann_Erika"
    shutil.copytree(raw_scans, secret)
    for path in secret.glob("*.nii.gz"):
        image = sitk.ReadImage(str(path))
        for key in ("ITK_FileNotes", "descrip", "aux_file", "intent_name", "db_name"):
            image.SetMetaData(key, "Mustermann")
        sitk.WriteImage(image, str(path))
    (secret / "c_flair.nii.gz").write_bytes(b"broken")
    assert list(run(manifest=secret / "manifest.csv").failures) == ["c"]
    for name, (_, content) in run.files().items():
        content = gzip.decompress(content) if name.endswith(".gz") else content
        assert b"Mustermann" not in content, name
        assert str(tmp_path).encode() not in content, name


def test_what_others_have_written_is_left_alone(run):
    others = run.dataset / "imagesTr" / "other_0000.nii.gz"
    others.parent.mkdir(parents=True)
    others.touch()
    with pytest.raises(UserError, match="has not written"):
        run()
    others.unlink()
    others.parent.rmdir()
    run()
    others.touch()
    before = run.files()
    with pytest.raises(UserError, match="imagesTr/other_0000"):
        run()
    assert run.files() == before


def test_two_runs_at_a_time_are_refused(run, refused_elsewhere):
    run()
    with run_lock(run.dataset / case_files.CONVERT_FOLDER / ".lock", run.dataset, "test"):
        assert "another mgcl convert" in refused_elsewhere(run)


class Killed(BaseException):
    """No `except Exception` sees it."""


def _dying(monkeypatch, after: int) -> None:
    """Lets the process die at the n-th change of the disk."""
    left = [after]

    def counted(function):
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return function(*args, **kwargs)

        return call

    for owner, name in ((os, "replace"), (os, "unlink"), (Path, "unlink")):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))


def test_a_run_killed_anywhere_is_finished_by_the_next_one(run, raw_scans, monkeypatch):
    """From one state of the manifest to another, with a case changed, one moved to the pool and one removed."""
    channels = ("DWI", "FLAIR")
    run(channels=channels)
    start = Path(shutil.copytree(run.raw, run.raw.with_name("start")))
    whole = {frozenset(run.names())}
    run.edit("c,,,c_flair.nii.gz,,,\n", "")
    run.edit(",b_mask.nii.gz,", ",,")
    os.utime(raw_scans / "a_dwi.nii.gz", (0, 0))
    run(channels=channels)
    whole.add(frozenset(run.names()))
    expected = _contents(run)
    for after in range(200):
        shutil.rmtree(run.raw)
        shutil.copytree(start, run.raw)
        with monkeypatch.context() as patch:
            _dying(patch, after)
            killed = True
            with contextlib.suppress(Killed):
                run(channels=channels)
                killed = False
        if (run.dataset / "dataset.json").exists():  # nnU-Net may take it for whole
            assert frozenset(run.names()) in whole
        assert run(channels=channels).complete
        assert _contents(run) == expected
        if not killed:
            break
    assert after > 20


def _contents(run) -> dict[str, bytes]:
    """All but the records, which hold times."""
    return {name: content for name, (_, content) in run.files().items() if not name.startswith("mgcl_convert/cases")}
