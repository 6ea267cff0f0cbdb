from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from nnunet_mgcl.system import files
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import (
    explaining_writes,
    is_there,
    read_json,
    remove_leftovers,
    replacing,
    require_writable,
    write_json,
    write_text,
)

NOT_ROOT = pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everywhere")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "result.b2nd"


@pytest.fixture
def full_disk(path: Path) -> Path:
    """A file whose new content goes to a device without room: the system itself refuses every byte."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    write_text(path, "whole")
    files._temporary(path).symlink_to("/dev/full")
    return path


def test_file_appears_only_when_it_is_whole(path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.suffix == path.suffix and temporary.parent == path.parent
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, RuntimeError])
def test_error_leaves_the_old_file_and_nothing_else(path, error) -> None:
    write_text(path, "old")
    with pytest.raises(error), replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == [path.name]


WRITERS = {
    "text": lambda path: path.write_text("x" * 2**20),
    "torch": lambda path: torch.save({"weights": torch.zeros(2**18)}, path),
    "numpy": lambda path: np.save(path.open("wb"), np.zeros(2**18)),
}
"""torch raises a RuntimeError that does not name the reason."""


@pytest.mark.parametrize("writer", WRITERS)
def test_full_disk_is_one_message_and_the_old_file_stays(full_disk, writer) -> None:
    with pytest.raises(UserError) as raised, replacing(full_disk) as temporary:
        WRITERS[writer](temporary)
    assert raised.value.where == str(full_disk)
    assert "No space left on device" in raised.value.found and "--c" in raised.value.remedy
    assert full_disk.read_text() == "whole"
    assert os.listdir(full_disk.parent) == [full_disk.name]


@NOT_ROOT
def test_read_only_folder_is_one_message(tmp_path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    for write in (lambda: require_writable(folder), lambda: require_writable(folder / "new"), (folder / "file").touch):
        with pytest.raises(UserError, match=r"Permission denied[\s\S]*make it writable"), explaining_writes():
            write()


def test_writable_folder_is_made_and_left_empty(tmp_path) -> None:
    require_writable(tmp_path / "new" / "folder")
    assert os.listdir(tmp_path / "new" / "folder") == []


def test_two_ranks_may_try_a_folder_at_the_same_time(tmp_path, monkeypatch) -> None:
    replace = os.replace

    def other_rank_is_faster(source: Path, target: Path) -> None:
        replace(source, target)
        target.unlink()

    monkeypatch.setattr(os, "replace", other_rank_is_faster)
    require_writable(tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("error", [FileNotFoundError(errno.ENOENT, "No such file", "x"), RuntimeError("CUDA error")])
def test_other_errors_pass(path, error) -> None:
    for context in (explaining_writes(path), replacing(path)):
        with pytest.raises(type(error)), context:
            raise error
    with pytest.raises(NotADirectoryError), explaining_writes():  # it may be about a file that is read
        raise NotADirectoryError(errno.ENOTDIR, "Not a directory")


def test_leftovers_of_killed_processes_are_removed_and_nothing_else(tmp_path) -> None:
    (tmp_path / "deep").mkdir()
    kept = [tmp_path / "checkpoint.part.pth", tmp_path / "deep" / "state.json", tmp_path / ".hidden"]
    for path in (*kept, tmp_path / ".99.part.state.json", tmp_path / "deep" / ".1.part.network.pth"):
        path.touch()
    remove_leftovers(tmp_path)
    assert sorted(p for p in tmp_path.rglob("*") if p.is_file()) == sorted(kept)


def test_json_comes_back_and_half_a_file_is_refused_by_name(tmp_path) -> None:
    write_json(tmp_path / "a.json", {"a": [1, None]})
    assert read_json(tmp_path / "a.json") == {"a": [1, None]}
    (tmp_path / "a.json").write_text('{"a": [1')
    with pytest.raises(UserError, match=r"a\.json[\s\S]*not valid JSON"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("file/x", "is a file"), ("file/x/y", "is a file"), ("folder", "this is a folder"), ("x" * 300, "shorter")],
)
def test_path_that_cannot_be_one_is_one_message(tmp_path, name, remedy) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=remedy):
        write_text(tmp_path / name, "text")


def test_optional_input_is_absent_or_there(tmp_path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    assert is_there(tmp_path / "file") and is_there(tmp_path / "link") and is_there(tmp_path, "folder")
    assert not is_there(tmp_path / "none") and not is_there(tmp_path / "file" / "below")


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda path: path.symlink_to("gone"), r"a link to nothing \(gone\)"),
        (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
        (os.mkfifo, "pipe"),
        (Path.mkdir, "a folder"),
        pytest.param(lambda path: path.touch(0o200), "Permission denied", marks=NOT_ROOT),
    ],
    ids=["dangling link", "circle of links", "pipe", "folder", "no permission"],
)
def test_what_is_there_and_cannot_be_read_is_refused(tmp_path, make, found) -> None:
    path = tmp_path / "tss.csv"
    make(path)
    with pytest.raises(UserError, match=rf"tss\.csv\n[\s\S]*{found}[\s\S]*restore it, or remove it"):
        is_there(path)
    with pytest.raises(UserError, match=found):
        read_json(path)


def test_next_write_removes_what_a_killed_process_left_of_the_file(path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    mine, here = files._temporary(path).name, str(os.getpid())
    left = path.with_name(mine.replace(here, str(dead.pid)))
    kept = [
        path.with_name(mine.replace(here, str(os.getppid()))),  # at work on the same file
        path.with_name(f".elsewhere.{dead.pid}.part.{path.name}"),  # perhaps at work on another computer
        path.with_name(left.name + "x"),  # of another file
    ]
    path.parent.mkdir()
    for file in (left, *kept):
        file.touch()
    write_text(path, "whole")
    assert sorted(path.parent.iterdir()) == sorted([path, *kept])


@pytest.mark.parametrize(("folder", "named"), [(Path("results/fold_0"), "results/fold_0"), (None, "/data/results")])
def test_full_disk_without_a_path_names_the_folder_or_those_in_use(monkeypatch, folder, named) -> None:
    monkeypatch.setenv("nnUNet_results", "/data/results")
    with pytest.raises(UserError) as refusal, explaining_writes(folder=folder):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert named in refusal.value.where
