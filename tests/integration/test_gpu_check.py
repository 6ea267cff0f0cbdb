"""The GPU check as a user starts it, on a CPU: every part is there, ok and whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu_check.sh"


@pytest.mark.slow
def test_every_part_is_there_and_ok(tmp_path) -> None:
    given = {"OUT": str(tmp_path), "PYTHON": sys.executable, "GPU_CHECK_DEVICE": "cpu", "GPU_CHECK_SECONDS": "1500"}
    done = subprocess.run(["bash", str(SCRIPT)], env=os.environ | given, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    parts = json.loads((tmp_path / "results.json").read_text())["parts"]
    assert all(part["ok"] for part in parts.values())
    assert [*parts] == ["machine", "tests", "loss", "prediction", "phases"]

    (tests,) = parts["tests"]["rows"]
    assert "passed" in tests["pytest"] and "skipped" not in tests["pytest"]
    forms = {(row["form"], row["precision"]) for row in parts["loss"]["rows"]}
    assert {("ours", "TF32 allowed"), ("ours, tile 128", "float32"), ("dense, compiled", "float32")} <= forms
    assert {("dense", "bfloat16 autocast"), ("matrix products only", "float32")} <= forms
    measured = {(row["plan"], row["phase"], row["compiled"]) for row in parts["phases"]["rows"]}
    phases = {"nnU-Net", "seed", "self_train", "coarse", "fine", "segment", "tss"}
    assert {(plan, phase, "no") for plan in ("2d", "3d_fullres") for phase in phases} <= measured
    assert {("2d", phase, "yes") for phase in ("nnU-Net", "coarse", "fine", "segment")} <= measured
    assert all(row["seconds"] > 0 for row in parts["phases"]["rows"])
    predictors = {row["predictor"]: row for row in parts["prediction"]["rows"]}
    for name in ("nnU-Net", "default", "--fast"):
        assert predictors[name]["network s"] > 0 and 0 < predictors[name]["lesion voxels"] < predictors[name]["of"]
    assert "## One training iteration" in (tmp_path / "results.md").read_text()
