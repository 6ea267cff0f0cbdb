"""`mgcl prepare -num_parts N -part_id I`: shared, killed, joined."""

from __future__ import annotations

import multiprocessing
import os
import signal

import pytest

from nnunet_mgcl.data.pool import parts as pool_parts
from nnunet_mgcl.data.pool import preprocess as pool_preprocess
from nnunet_mgcl.data.pool import work as pool_work
from nnunet_mgcl.data.pool.manifest import SUFFIXES, Manifest
from nnunet_mgcl.data.pool.parts import PoolPart
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.run_lock import run_lock

PARTS = [PoolPart(0, 2), PoolPart(1, 2)]


@pytest.fixture
def world(world, monkeypatch):
    monkeypatch.setattr(pool_parts, "crc32", lambda name: int(name[-1:]))  # case_0, pool_0, pool_2 | pool_1
    os.utime(world.raw, (1, 1))
    return world


def assert_whole(world):
    """The pool is complete, once and in one place."""
    assert world.cases() == world.expected
    files = {path.relative_to(world.folder).as_posix() for path in world.folder.rglob("*") if path.is_file()}
    images = {f"{m}/{case}{suffix}" for m, cases in world.expected.items() for case in cases for suffix in SUFFIXES}
    assert files == images | {".lock", "manifest.sqlite"}
    assert world.prepare(refresh=False) == world.expected and world.done == []
    assert world.prepare() == world.expected and world.done == []


def killed(function, *arguments):
    """Runs a function in a process of its own, which must kill itself."""
    process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


def kill_at(module, name, call):
    """Lets the process kill itself at a call of a function."""
    original, calls = getattr(module, name), []

    def counted(*arguments):
        calls.append(1)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments)

    setattr(module, name, counted)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_every_part_does_its_own_and_the_last_joins_them(world, order):
    assert world.prepare(part=PARTS[order[0]]) is None
    first = set(world.done)
    assert world.cases() == {"DWI": [], "FLAIR": [], "PWI": []}
    assert world.prepare(part=PARTS[order[1]]) == world.expected
    assert not first & set(world.done) and len(first | set(world.done)) == len(first) + len(world.done) == 8
    assert_whole(world)


def test_part_looks_only_at_what_the_pool_lacks(world):
    world.prepare()
    for suffix in SUFFIXES:
        (world.folder / "DWI" / f"pool_1{suffix}").unlink()
    assert world.prepare(part=PARTS[0]) is None and world.done == []
    assert world.prepare(part=PARTS[1]) == world.expected and world.done == [("DWI", "pool_1")]
    assert_whole(world)


@pytest.mark.parametrize("part", [0, 1])
def test_ordinary_run_takes_over_what_parts_have_done(world, part):
    world.prepare(part=PARTS[part])
    done = set(world.done)
    world.prepare()
    assert not done & set(world.done)
    assert_whole(world)


def test_part_with_a_wrong_image_has_not_finished(world):
    path = world.raw / "pool_1_0000.nii.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:300])
    with pytest.raises(UserError, match="pool_1_0000"):
        world.prepare(part=PARTS[1])
    assert world.prepare(part=PARTS[0]) is None
    path.write_bytes(whole)
    assert world.prepare(part=PARTS[1]) == world.expected
    assert_whole(world)


def test_images_of_another_plan_are_not_joined(world):
    world.prepare(part=PARTS[0])
    world.plans["configurations"]["2d"]["normalization_schemes"][1] = "ZScoreNormalization"
    world.prepare(part=PARTS[1])
    assert ("FLAIR", "pool_0") in world.done and ("DWI", "pool_0") not in world.done
    assert_whole(world)


def test_part_at_work_is_waited_for(world):
    world.prepare(part=PARTS[0])
    folder, lock = PARTS[0].folders(world.folder)[0], pool_parts.run_lock
    with run_lock(folder / ".lock", folder, "process"):
        pid = os.fork()
        if pid == 0:
            try:
                pool_parts.run_lock = lambda *given, wait: lock(*given, wait=lambda _: os._exit(0))
                world.prepare()
            finally:
                os._exit(1)
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("call", [1, 3, 5])
def test_part_that_is_killed_goes_on_where_it_was(world, call):
    def run():
        kill_at(pool_work, "preprocess", call)
        world.prepare(part=PARTS[0])

    killed(run)
    assert world.prepare(part=PARTS[0]) is None
    assert world.prepare(part=PARTS[1]) == world.expected
    assert_whole(world)


@pytest.mark.parametrize("again", ["part", "ordinary"])
@pytest.mark.parametrize(
    ("module", "name", "call"),
    [(os, "replace", 5), (os, "replace", 20), (Manifest, "add", 2), (Manifest, "store_digests", 1),
     (pool_parts.shutil, "rmtree", 2)],
    ids=["files, early", "files, late", "rows", "digests", "folders"],
)  # fmt: skip
def test_run_that_is_killed_while_it_joins_is_finished_by_the_next(world, module, name, call, again):
    world.prepare(part=PARTS[0])
    original = pool_preprocess.join_parts

    def run():
        def join(*arguments):
            kill_at(module, name, call)
            return original(*arguments)

        pool_preprocess.join_parts = join
        world.prepare(part=PARTS[1])

    killed(run)
    if again == "part":
        world.prepare(part=PARTS[1])
    world.prepare()
    assert_whole(world)
