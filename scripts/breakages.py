#!/usr/bin/env python3
"""Breaks the package on purpose, one fault of `breakages.toml` at a time, and looks whether the tests notice.

Each fault goes into a copy of the repository, never into the working tree.
"""

from __future__ import annotations

import argparse
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_suffix(".toml")
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "demo", "docs", "benchmarks")
CAUGHT, SURVIVED, STALE = "caught", "SURVIVED", "stale"
TESTS_FAILED = 1
"""Exit status of pytest where a test failed; 2 and above: it could not run them, which is no test's merit."""
LONGEST_SECONDS = 900


@dataclass(frozen=True)
class Breakage:
    """A fault: what it is in words, the text it replaces once in a file, and the tests that must fail."""

    what: str
    file: str
    old: str
    new: str
    tests: list[str]

    def mistakes(self) -> list[str]:
        """Why the fault cannot be tried as it is written."""
        path = ROOT / self.file
        count = path.read_text(encoding="utf-8").count(self.old) if path.is_file() else 0
        found = [] if count == 1 else [f"its old text is {count} times in {self.file}, once expected"]
        return found + [f"there is no {test}" for test in self.tests or ["test"] if not (ROOT / test).exists()]


def try_out(breakage: Breakage, copies: queue.Queue[Path]) -> tuple[str, float]:
    """Puts a fault into a copy, runs its quick tests there and takes it out again; returns the verdict and seconds."""
    if breakage.mistakes():
        return STALE, 0.0
    copy, started = copies.get(), monotonic()
    path = copy / breakage.file
    whole = path.read_text(encoding="utf-8")
    try:
        path.write_text(whole.replace(breakage.old, breakage.new), encoding="utf-8")
        command = ["-m", "pytest", "-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", *breakage.tests]
        status = run_python(copy, command).returncode
    except subprocess.TimeoutExpired:
        status = 0
    finally:
        path.write_text(whole, encoding="utf-8")
        copies.put(copy)
    return CAUGHT if status == TESTS_FAILED else SURVIVED, monotonic() - started


def run_python(copy: Path, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Runs Python where a copy is what is imported. Without bytecode: it is renewed by whole seconds only."""
    own = {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=copy, env=os.environ | own, capture_output=True, text=True,
        timeout=LONGEST_SECONDS,
    )  # fmt: skip


def make_copy(parent: Path, number: int) -> Path:
    """Copies the repository and makes sure that the copy is what is imported there."""
    copy = Path(shutil.copytree(ROOT, parent / str(number), ignore=LEFT_OUT))
    imported = run_python(copy, ["-c", "import nnunet_mgcl; print(nnunet_mgcl.__file__)"]).stdout.strip()
    if not Path(imported).is_relative_to(copy):
        sys.exit(f"{imported} is imported, not the copy {copy}")
    return copy


def main() -> int:
    """Tries the chosen faults; returns 1 where one survives or is stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", metavar="REGEX", default="", help="those whose description or file has this")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="tried at a time (default: %(default)s)")
    parser.add_argument("--list", action="store_true", help="name the faults, try none")
    parser.add_argument("--check", action="store_true", help="only look whether each fault can be tried")
    args = parser.parse_args()
    entries = tomllib.loads(LIST.read_text(encoding="utf-8"))["breakage"]
    every = [Breakage(**entry) for entry in entries]
    chosen = [own for own in every if re.search(args.only, own.what) or re.search(args.only, own.file)]
    if args.list or args.check:
        lines = [f"{own.file}: {own.what}" if args.list else own.mistakes() for own in chosen]
        for own, line in zip(chosen, lines, strict=True):
            if line:
                print(line if args.list else f"{STALE}: {own.what} ({'; '.join(line)})")
        return int(args.check and any(lines))
    copies: queue.Queue[Path] = queue.Queue()
    verdicts = []
    with tempfile.TemporaryDirectory(prefix="breakages") as folder, ThreadPoolExecutor(args.jobs) as pool:
        for number in range(args.jobs):
            copies.put(make_copy(Path(folder).resolve(), number))
        for own, (verdict, seconds) in zip(chosen, pool.map(lambda own: try_out(own, copies), chosen), strict=True):
            verdicts.append(verdict)
            print(f"{verdict:8}  {seconds:5.0f} s  {own.file}: {own.what}", flush=True)
    print(", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in (CAUGHT, SURVIVED, STALE)))
    return int(any(verdict != CAUGHT for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
