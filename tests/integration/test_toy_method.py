"""A method that is one file (toy_trainers/toy.py) goes all the way, and nothing else in the package knows of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from nnunet_mgcl.system.resources import trainers_dir

TOY = Path(__file__).with_name("toy_trainers")
TRAINERS = {"nnUNet_extTrainer": os.pathsep.join([str(trainers_dir()), str(TOY)])}
PLAN = ("-d", 501, "-c", "2d", "-p", "P")
TINY = ("segment.epochs=1", "segment.iterations=2", "segment.val_iterations=1", "tss.enabled=false")


@pytest.fixture(scope="module")
def root(tmp_path_factory, call) -> Path:
    """A dataset with a plan for the toy."""
    root = tmp_path_factory.mktemp("toy")
    numbers = ("--cases", 8, "--unlabelled", 6, "--test", 1, "--matrix", 32, "--slices", 4)
    call(root, "mgcl", "phantom", "-o", root / "raw", *numbers)
    call(root, "nnUNetv2_plan_and_preprocess", "-d", 501, "-c", "2d", "-np", 1, "-npfp", 1)
    settings = ("toy.epochs=30", "toy.temperature=0.3", *TINY)
    call(root, "mgcl", "plan", "-d", 501, "-c", "2d", "--preset", "demo", "-o", "P", "--set", *settings, **TRAINERS)
    return root


def stored(root: Path) -> list[Path]:
    return sorted((root / "res" / "Dataset501_Phantom" / "mgcl_pretrained" / "toy").glob("*"))


def test_one_file_is_configured_trained_killed_resumed_handed_on_drawn_and_reported(root, call, run, request) -> None:
    assert "toy" in json.loads(call(root, "mgcl", "schema", **TRAINERS))["properties"]
    refused = run(root, "mgcl", "plan", "-d", 501, "-c", "2d", "-o", "Q", "--set", "toy.epochs=0", **TRAINERS)
    assert refused.returncode == 1 and "mgcl.toy.epochs" in refused.stderr + refused.stdout

    pretrain = ("mgcl", "pretrain", *PLAN, "-tr", "ToyTrainer", "-device", "cpu")
    group = kill_after_an_epoch(root, pretrain, run)
    request.addfinalizer(lambda: end(group))  # nnU-Net's workers outlive it
    log = call(root, *pretrain, **TRAINERS)
    assert "toy DWI: epochs 1-30" not in log and "toy DWI: epochs" in log
    assert [path.name.split("_")[0] for path in stored(root)] == ["DWI", "FLAIR", "PWI"]
    again = call(root, *pretrain, **TRAINERS)
    assert "epochs" not in again and "takes what was pretrained" in again

    train = ("nnUNetv2_train", 501, "2d", 0, "-tr", "ToyTrainer", "-p", "P", "-device", "cpu")
    log = call(root, *train, **TRAINERS)
    assert "segment DWI: starts from toy" in log and "toy DWI: epochs" not in log
    model = root / "res" / "Dataset501_Phantom" / "ToyTrainer__P__2d"
    assert (model / "fold_0" / "phases" / "progress.png").is_file()
    assert "toy" in json.loads((model / "fold_0" / "phases" / "curves.json").read_text())
    block = json.loads((model / "plans.json").read_text())["configurations"]["2d"]["mgcl"]
    assert block["toy"]["temperature"] == 0.3 and "coarse" not in block

    call(root, "mgcl", "report", *PLAN, "-tr", "ToyTrainer", "-f", 0, "-device", "cpu", **TRAINERS)
    report = model / "report_folds_0"
    assert "slices (toy)" in (report / "index.html").read_text()
    assert {"curves_toy.png", "embeddings_toy.png"} <= {path.name for path in (report / "figures").iterdir()}


def kill_after_an_epoch(root: Path, command: tuple, run) -> int:
    """Starts a command, kills it as soon as its state says that an epoch is done, and returns its process group."""
    environment = run(root, "env", **TRAINERS).stdout
    variables = dict(line.split("=", 1) for line in environment.splitlines() if "=" in line)
    process = subprocess.Popen(
        [str(word) for word in command], env=variables, stdout=subprocess.DEVNULL, start_new_session=True
    )
    while process.poll() is None:
        if any((path / "phases" / "state.json").is_file() for path in stored(root)):
            process.send_signal(signal.SIGKILL)
        time.sleep(0.05)
    assert process.wait() == -signal.SIGKILL
    return process.pid


def end(group: int) -> None:
    """Ends whatever is left of a process group."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def test_docs_list_the_block(root, run) -> None:
    code = "import sys; sys.path.insert(0, 'docs'); import make_configuration as m; print(m.configuration_page())"
    page = run(root, "env", "-C", str(Path(__file__).parents[2]), "python", "-c", code, **TRAINERS).stdout
    assert "## toy" in page and "`temperature`" in page
