"""A study that is killed again and again ends with the table of one that was not."""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.phantom import NAME, make_phantom, plan

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("MGCL_STUDY_KILLS", "10"))
HERE = {"nnUNet_n_proc_DA": "0", "OMP_NUM_THREADS": "1"}
STUDY = """
dataset = 501
plans = "MGCLPlans_demo"
trainers = ["MGCLTrainerRandomInit", "SimCLRTrainer", "SelfTrainingTrainer"]
fractions = [0.5, 1.0]
folds = [0, 1]
device = "cpu"
[executor]
jobs = 2
[settings]
simclr = { epochs = 3, batch_size = 8 }
seed = { epochs = 1, stretch = 1.0 }
self_train = { epochs = 1 }
segment = { epochs = 2, iterations = 3, val_iterations = 1 }
"""


def table(root: Path, results: str) -> list[dict[str, str]]:
    with (root / results / NAME / "mgcl_studies" / "study" / "report" / "study.csv").open() as file:
        return [{key: value for key, value in row.items() if key != "hours"} for row in csv.DictReader(file)]


def test_a_study_that_was_killed_ends_with_the_same_table(tmp_path, call, run) -> None:
    """Killed alone, its trainings go on and are waited for; or with them."""
    make_phantom(tmp_path, call, cases=16, unlabelled=6, test=0)
    plan(tmp_path, call, "tss.enabled=false")
    study = tmp_path / "study.toml"
    study.write_text(STUDY)
    whole, killed = ({**HERE, "nnUNet_results": str(tmp_path / name)} for name in ("whole", "res"))
    dry = call(tmp_path, "mgcl", "study", "run", study, "--dry-run", **whole)
    assert dry.count("nnUNetv2_train 501 2d") == 3 * 2 * 2
    log = call(tmp_path, "mgcl", "study", "run", study, **whole)
    assert "FAILED" not in log and "MGCLTrainerRandomInit_e" in log
    call(tmp_path, "mgcl", "study", "report", study, **whole)

    draw = random.Random(0)
    environment = run(tmp_path, "env", **killed).stdout
    variables = dict(line.split("=", 1) for line in environment.splitlines() if "=" in line)
    for _ in range(KILLS):
        process = subprocess.Popen(
            ["mgcl", "study", "run", str(study)], env=variables, start_new_session=True, stdout=subprocess.DEVNULL
        )
        time.sleep(draw.uniform(3, 40))
        with suppress(ProcessLookupError):
            (os.kill if draw.random() < 0.5 else os.killpg)(process.pid, signal.SIGKILL)
        process.wait()
    call(tmp_path, "mgcl", "study", "run", study, **killed)
    call(tmp_path, "mgcl", "study", "report", study, **killed)
    assert table(tmp_path, "res") == table(tmp_path, "whole")
    logs = "".join(path.read_text() for path in (tmp_path / "whole").glob("*/mgcl_studies/study/logs/*.txt"))
    assert logs.count("pretrains on the pool for all folds") == 3 * 1  # once a branch, for both fractions and folds
    assert logs.count("takes what was pretrained on the pool") == 3 * 3
