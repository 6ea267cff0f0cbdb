"""One run of a few minutes on one GPU that says whether the package works there, how fast, and in how much memory.

    bash scripts/gpu_check.sh        # or python benchmarks/gpu_check.py --out gpu_check

Every part is a process of its own with a time of its own; what one leaves, the next ones have. A part that fails or is
out of time says so in the results and the others go on. `results.json` and `results.md` are written after each part;
a part's log has its rows as they come, so that a killed run keeps them. The exit status is 1 where any part failed.
Without a GPU everything is tiny: that tries the check, it measures nothing.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from gpu.rows import BEGUN, ROW, last_lines

ROOT = Path(__file__).parents[1]
TESTS = ["tests/unit/losses/test_on_gpu.py", "tests/unit/network/test_on_gpu.py"]
PARTS = {"machine": 20, "tests": 40, "loss": 75, "prediction": 75, "phases": 80}
"""Seconds of each; `phases`, whose compilations take what there is, comes last."""
TITLES = {
    "machine": "The machine",
    "tests": "Unit tests on the device",
    "loss": "supcon_loss, forward + backward",
    "prediction": "A patient: nnU-Net's predictor and ours",
    "phases": "One training iteration of every phase",
}


def main() -> int:
    """Runs all parts, or in a child process one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu_check"), help="folder of the results")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: cuda where there is one")
    parser.add_argument("--seconds", type=float, default=sum(PARTS.values()), help="of all parts together")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="some parts")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    device = args.device or default_device()
    if args.part:
        importlib.import_module(f"gpu.{args.part}").run(device)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through `finally`, which ends the part
    args.out.mkdir(parents=True, exist_ok=True)
    report = check(args.out, device, args.seconds, args.only)
    return 0 if all(part["ok"] for part in report["parts"].values()) else 1


def default_device() -> str:
    """CUDA where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def check(out: Path, device: str, seconds: float, chosen: list[str]) -> dict[str, Any]:
    """Runs some parts one after the other and writes what is known after each."""
    ends = time.monotonic() + seconds
    scale = seconds / sum(PARTS[name] for name in chosen)
    report: dict[str, Any] = {"device": device, "commit": commit(), "parts": {}}
    report["parts"] = {name: {"ok": False, "error": "not run", "rows": []} for name in chosen}
    for number, name in enumerate(chosen):
        write(out, report)
        kept = scale * sum(PARTS[later] for later in chosen[number + 1 :])
        limit = max(1.0, ends - time.monotonic() - kept)
        print(f"{name}: at most {limit:.0f} s", flush=True)
        log = out / f"{name}.log"
        try:
            report["parts"][name] = part = run_part(name, device, limit, log)
        except BaseException:  # Ctrl-C or SIGTERM: what the part has said so far is kept
            said = log.read_text(errors="replace") if log.exists() else ""
            report["parts"][name] = outcome(name, said, None, limit) | {"error": "the run was ended"}
            write(out, report)
            raise
        print(f"{name}: {'ok' if part['ok'] else 'FAILED'}, {part['seconds']:.0f} s", flush=True)
        if part.get("error"):
            print(part["error"], flush=True)
    write(out, report)
    print((out / "results.md").read_text())
    return report


def commit() -> str:
    """Of this repository, where git knows it."""
    try:
        command = ["git", "describe", "--always", "--dirty"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def run_part(name: str, device: str, limit: float, log: Path) -> dict[str, Any]:
    """Runs a part in a process group of its own, which ends with its time."""
    started = time.monotonic()
    if name == "tests":
        command = ["-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *TESTS]
    else:
        command = [__file__, "--part", name, "--device", device]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "MGCL_TEST_DEVICE": device}
    # A folder for what it writes: a part that is killed cannot tidy up, and `prediction` leaves gigabytes.
    with tempfile.TemporaryDirectory(prefix="gpu_check_", ignore_cleanup_errors=True) as folder, log.open("w") as file:
        child = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env=environment | {"TMPDIR": folder}, stdout=file,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            status: int | None = child.wait(limit)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)  # also what it has left behind
            child.wait()
    return outcome(name, log.read_text(errors="replace"), status, limit) | {"seconds": time.monotonic() - started}


def outcome(name: str, text: str, status: int | None, limit: float) -> dict[str, Any]:
    """What a part's log says; `status` None: it was out of time."""
    lines = text.splitlines()
    rows = [json.loads(line.removeprefix(ROW)) for line in lines if line.startswith(ROW) and line.endswith("}")]
    if name == "tests":
        rows = [{"pytest": line} for line in lines[-1:]]
    failed = [own["error"] for own in rows if "error" in own]
    error = f"{len(failed)} of {len(rows)} rows failed, the first one:\n{failed[0]}" if failed else None
    if status is None:
        begun = [line.removeprefix(BEGUN) for line in lines if line.startswith(BEGUN)]
        error = f"out of time after {limit:.0f} s" + (f", in {begun[-1]}" if begun else "")
    elif status:
        said = [line for line in lines if not line.startswith((BEGUN, ROW))]
        error = f"exit status {status}\n" + last_lines("\n".join(said))
    elif not rows:
        error = "it measured nothing"
    return {"ok": error is None, "error": error, "rows": rows}


def write(out: Path, report: dict[str, Any]) -> None:
    """Writes both files as a whole: a run may be killed at any time."""
    for name, text in (("results.json", json.dumps(report, indent=1)), ("results.md", markdown(report))):
        temporary = out / f".{name}"
        temporary.write_text(text + "\n")
        temporary.replace(out / name)


def markdown(report: dict[str, Any]) -> str:
    """A table a part."""
    lines = [f"# GPU check ({report['device']}, commit {report['commit']})"]
    if report["device"] == "cpu":
        lines += ["", "No GPU: tiny sizes, which try the check and measure nothing."]
    for name, part in report["parts"].items():
        state = "ok" if part["ok"] else "FAILED"
        lines += ["", f"## {TITLES[name]}: {state}" + (f", {part['seconds']:.0f} s" if "seconds" in part else "")]
        if part["error"]:
            lines += ["", "```text", part["error"], "```"]
        keys = list(dict.fromkeys(key for own in part["rows"] for key in own))
        if keys:
            lines += ["", f"| {' | '.join(keys)} |", "|" + "---|" * len(keys)]
            lines += [f"| {' | '.join(cell(own.get(key, '')) for key in keys)} |" for own in part["rows"]]
    return "\n".join(lines)


def cell(value: Any) -> str:
    """A value of a table; lines and bars would break it."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("\n", " ").replace("|", "/")


if __name__ == "__main__":
    sys.exit(main())
