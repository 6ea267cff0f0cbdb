import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import SimpleITK as sitk

from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.workers import default_processes, run_jobs


def square(number):
    return number**2


def die(number):
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def refuse(number):
    raise UserError("job", str(number), "another", "mend it")


def threads(number):
    return sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()


def ignores_interrupts(number):
    return signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def nothing():
    pass


@pytest.mark.parametrize("processes", [1, 2])
def test_every_job_is_done_once_and_a_users_mistake_comes_back(processes):
    assert sorted(run_jobs(square, range(5), processes)) == [0, 1, 4, 9, 16]
    with pytest.raises(UserError, match="mend it"):
        list(run_jobs(refuse, range(2), processes))


def test_a_killed_process_is_a_message_and_each_computes_with_one_thread():
    with pytest.raises(UserError, match="-np"):
        list(run_jobs(die, range(4), 2))
    assert set(run_jobs(threads, range(2), 2)) == {1}


def test_processes_ignore_ctrl_c_while_they_start(monkeypatch):
    """A shell's background job, as tests may be, ignores it from the first."""
    monkeypatch.setattr("nnunet_mgcl.system.workers.start_worker", nothing)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert all(run_jobs(ignores_interrupts, range(2), 2))
        assert not ignores_interrupts(0)
    finally:
        signal.signal(signal.SIGINT, before)


ENDED = """
import multiprocessing, os, time
from nnunet_mgcl.system.workers import ending_in_order

if __name__ == "__main__":
    manager = multiprocessing.Manager()  # forked, as nnU-Net's
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,), daemon=True)
    with ending_in_order(), multiprocessing.get_context("spawn").Pool(1) as pool:
        other.start()
        worker = pool.apply(os.getpid)
        print(manager._process.pid, other.pid, worker, flush=True)
        time.sleep(600)
"""


def test_no_process_outlives_a_command_that_is_told_to_end(tmp_path):
    (tmp_path / "command.py").write_text(ENDED)
    with subprocess.Popen([sys.executable, tmp_path / "command.py"], stdout=subprocess.PIPE, text=True) as command:
        processes = [int(pid) for pid in command.stdout.readline().split()]
        command.terminate()
        status = command.wait(60)
    deadline = time.monotonic() + 20
    while (alive := [pid for pid in processes if is_alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
    assert (status, len(processes), alive) == (128 + signal.SIGTERM, 3, [])


FORKED = """
import os, signal, sys, time
from nnunet_mgcl.system.workers import ending_in_order

codes = set()
with ending_in_order():
    for _ in range(20):
        if not (child := os.fork()):
            time.sleep(5)
            os._exit(0)
        os.kill(child, signal.SIGTERM)  # perhaps before the fork is finished there, as a pool may do
        codes.add(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
sys.exit(codes != {-signal.SIGTERM})
"""


def test_what_is_forked_ends_at_once_when_it_is_told_to():
    assert subprocess.run([sys.executable, "-c", FORKED], timeout=60).returncode == 0


def is_alive(pid):
    """A zombie, which its next parent has not noticed yet, is not."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_default_is_nnunets_within_the_machine_and_what_is_no_number_counts_as_not_set(monkeypatch):
    monkeypatch.delenv("nnUNet_def_n_proc", raising=False)
    cores = os.cpu_count() or 1
    for wished, expected in {"1": 1, "10000": cores, **dict.fromkeys(("auto", "", "0", "-3", "2.5", "²"))}.items():
        usual = default_processes() if expected is None else expected
        monkeypatch.setenv("nnUNet_def_n_proc", wished)
        assert default_processes() == usual
        monkeypatch.delenv("nnUNet_def_n_proc")
