"""What the GPU check does with parts that fail, hang or are killed; `tests/integration` runs the whole of it."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("gpu_check")


@pytest.fixture
def rows(check: ModuleType) -> ModuleType:
    return importlib.import_module("gpu.rows")


def test_rows_before_a_failure_are_kept_and_it_says_why(check, rows, capsys) -> None:
    def fail() -> dict[str, Any]:
        raise ValueError("no such kernel")

    def end() -> dict[str, Any]:
        raise SystemExit("no such folder")

    def fill() -> dict[str, Any]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    for about, measure, may_not_fit in (("a", fail, False), ("b", end, False), ("c", fill, False), ("d", fill, True)):
        rows.row({"name": about}, measure, may_not_fit)
    rows.row({"name": "e"}, lambda: {"seconds": 1.5})
    found = check.outcome("loss", capsys.readouterr().out, 0, 9)
    assert not found["ok"] and found["error"].startswith("3 of 5 rows failed")
    errors = {own["name"]: own.get("error", own.get("left out")) for own in found["rows"]}
    assert errors == {
        "a": "ValueError: no such kernel", "b": "SystemExit: no such folder",
        "c": "OutOfMemoryError: CUDA out of memory", "d": "does not fit into the GPU",
        "e": None,
    }  # fmt: skip
    assert "| e |" in check.markdown({"device": "cpu", "commit": "1", "parts": {"loss": found}})


@pytest.mark.parametrize(
    ("status", "ends", "said"),
    [
        (None, [], 'out of time after 9 s, in {"name": "b"}'),
        (1, ["Traceback", "ImportError: no nnU-Net"], "exit status 1\nTraceback\nImportError: no nnU-Net"),
        (-11, [], "exit status -11"),
        (0, [], None),
    ],
)
def test_a_part_s_end_is_told(check, rows, status, ends, said) -> None:
    lines = [rows.ROW + '{"name": "a"}', rows.BEGUN + '{"name": "b"}', rows.ROW + '{"name": "b", "sec', *ends]
    found = check.outcome("loss", "\n".join(lines), status, 9)
    assert found["rows"] == [{"name": "a"}] and found["ok"] == (said is None)
    assert found["error"] is None if said is None else found["error"].startswith(said)


def test_a_part_that_measures_nothing_has_failed(check) -> None:
    assert check.outcome("loss", "", 0, 9)["error"] == "it measured nothing"


def test_a_part_that_hangs_is_ended_and_leaves_no_folder(check, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(check.tempfile, "tempdir", str(tmp_path))
    part = check.run_part("phases", "cpu", 0.2, tmp_path / "log")
    assert not part["ok"] and part["error"].startswith("out of time") and part["seconds"] < 30
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_killed_run_keeps_what_it_has_and_time_left_is_passed_on(check, tmp_path, monkeypatch) -> None:
    limits = {}

    def run_part(name: str, device: str, limit: float, log: Path) -> dict[str, Any]:
        limits[name] = limit
        if name == "prediction":
            log.write_text('GPU_CHECK_ROW {"predictor": "nnU-Net"}\nGPU_CHECK_ROW {"predic')
            raise KeyboardInterrupt
        return {"ok": True, "error": None, "rows": [{"name": name}], "seconds": 0.0}

    monkeypatch.setattr(check, "run_part", run_part)
    with pytest.raises(KeyboardInterrupt):
        check.check(tmp_path, "cpu", 290, list(check.PARTS))
    parts = json.loads((tmp_path / "results.json").read_text())["parts"]
    assert [name for name, part in parts.items() if part["ok"]] == ["machine", "tests", "loss"]
    assert parts["prediction"]["error"] == "the run was ended"
    assert parts["prediction"]["rows"] == [{"predictor": "nnU-Net"}]
    assert parts["phases"]["error"] == "not run" and "not run" in (tmp_path / "results.md").read_text()
    assert limits["loss"] == pytest.approx(20 + 40 + 75, abs=1)  # all but what the two behind it keep


def test_a_gradient_that_is_none_of_float64_is_an_error(rows) -> None:
    loss = importlib.import_module("gpu.loss")
    right = {"error, random": 1e-6, "error, near convergence": 1e-3}
    assert loss.disagreement(right) == {}
    for wrong in (1e-3, float("nan")):
        assert "random" in loss.disagreement(right | {"error, random": wrong})["error"]


def test_warm_iterations_count_neither_in_seconds_nor_in_memory(rows, monkeypatch) -> None:
    """On a GPU that is made up: the peak rises to what is allocated, and falls to that when it is reset."""
    allocated, peak, now = 100, 100, 0.0
    mebibyte = 2**20

    def reset() -> None:
        nonlocal peak
        peak = allocated

    for name, fake in (
        ("synchronize", lambda: None), ("empty_cache", lambda: None), ("reset_peak_memory_stats", reset),
        ("memory_allocated", lambda: allocated * mebibyte), ("max_memory_allocated", lambda: peak * mebibyte),
    ):  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(rows.time, "perf_counter", lambda: now)
    beyond, whole = (rows.Clock(torch.device("cuda"), warm=2, beyond=own) for own in (True, False))
    for clock, expected in ((beyond, 250), (whole, 350)):
        for seconds, used in ((50, 9000), (20, 8000), (3, 350), (1, 200), (2, 300)):
            clock.tick()
            now, peak = now + seconds, max(peak, used)
        clock.tick()
        found = clock.result()
        assert (found["peak MiB"], found["repetitions"], found["first"]) == (expected, 3, 50)
        assert (found["seconds"], found["fastest"], found["slowest"]) == (2, 1, 3)
