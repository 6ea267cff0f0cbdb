"""`mgcl doctor`: is everything in place? Every problem comes with its remedy."""

from __future__ import annotations

import argparse
import io
import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path

from nnunet_mgcl.commands.env import FOLDER_VARIABLES, VARIABLE
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.resources import trainers_dir

PACKAGES = (
    "nnunet-mgcl",
    "nnunetv2",
    "torch",
    "torchvision",
    "pydantic",
    "numpy",
    "scikit-learn",
    "SimpleITK",
)
OLDEST = {"nnunetv2": "2.8.1", "torch": "2.4", "pydantic": "2"}
TRAINER = "MGCLTrainer"

SET_UP = 'run: eval "$(mgcl env)" (other shells: mgcl env --help)'
SAME_BUILD = (
    "torch and torchvision are of different builds (often one for CPU and one for CUDA, or of different "
    "releases): install both in one command from one index, pip install --force-reinstall torch torchvision"
)


@dataclass(frozen=True)
class Finding:
    """One row of the report.

    Attributes:
        subject: What was looked at.
        found: What is there.
        remedy: What to do about it; None: all is well.
        harmless: With a remedy: a note rather than a problem.
    """

    subject: str
    found: str
    remedy: str | None = None
    harmless: bool = False

    @property
    def is_problem(self) -> bool:
        """Whether something does not work until it is mended."""
        return self.remedy is not None and not self.harmless

    @property
    def mark(self) -> str:
        """The row's first column, in rich's markup."""
        if self.remedy is None:
            return "[green]ok[/]"
        return "[yellow]note[/]" if self.harmless else "[red]wrong[/]"


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the subcommand."""
    subparsers.add_parser(
        "doctor",
        help="check the installation",
        description="Checks versions, device, folders and whether nnU-Net finds the trainers. "
        "Exit status 1 if anything is wrong.",
    )


def run(args: argparse.Namespace) -> int:
    """Prints the report."""
    findings = list(examine())
    _print_report(findings)
    return int(any(finding.is_problem for finding in findings))


def examine() -> Iterator[Finding]:
    """Looks at everything in turn."""
    yield Finding("python", platform.python_version())
    for package in PACKAGES:
        yield check_version(package)
    yield check_torch()
    yield check_torchvision()
    for name in FOLDER_VARIABLES:
        yield check_folder(name, os.environ.get(name))
    yield check_trainer_variable(os.environ.get(VARIABLE))
    yield check_lookup()


def check_version(package: str) -> Finding:
    """Is the package installed, and new enough?"""
    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:
        return Finding(package, "not installed", f"pip install {package}")
    oldest = OLDEST.get(package, "0")
    if _release(version) < _release(oldest):
        return Finding(package, version, f"{oldest} or newer is needed: pip install -U {package}")
    return Finding(package, version)


def check_torch() -> Finding:
    """Which device will train?"""
    try:
        torch = import_module("torch")
    except Exception as error:
        return Finding("device", _one_line(error), remedy_for(error))
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return Finding("device", f"cuda: {properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    if torch.backends.mps.is_available():
        return Finding("device", "mps (use -device mps)")
    build = f"torch is built for CUDA {torch.version.cuda} but sees no GPU; " if torch.version.cuda else ""
    slow = "use -device cpu; enough for trying things out, too slow for real training"
    return Finding("device", "cpu", build + slow, harmless=True)


def check_torchvision() -> Finding:
    """Does torchvision load with this torch? nnU-Net's search for trainers imports it (through timm)."""
    try:
        import_module("torchvision")
    except Exception as error:
        return Finding("torchvision loads", _one_line(error), remedy_for(error))
    return Finding("torchvision loads", "yes")


def check_folder(name: str, value: str | None) -> Finding:
    """Is one of nnU-Net's folders there and writable? It only reads nnUNet_raw."""
    if not value:
        return Finding(name, "not set", f"export {name}=<folder>")
    if not Path(value).is_dir():
        return Finding(name, f"{value} is no folder", f"mkdir -p '{value}', or export another folder")
    if not os.access(value, os.W_OK | os.X_OK):
        remedy = "make it writable, or export another folder"
        return Finding(name, f"{value} is read-only", remedy, harmless=name == "nnUNet_raw")
    return Finding(name, value)


def check_trainer_variable(value: str | None) -> Finding:
    """Does the variable name the folder of the trainers?"""
    if not value:
        return Finding(VARIABLE, "not set", SET_UP)
    try:
        expected = trainers_dir()
    except UserError as error:
        return Finding(VARIABLE, error.found, error.remedy)
    entries = [Path(entry).resolve() for entry in value.split(os.pathsep) if entry.strip()]
    if any(expected.is_relative_to(entry) and entry != expected for entry in entries):
        remedy = f"name the folder of the trainers only, {expected}: nnU-Net imports every file below it"
        return Finding(VARIABLE, f"{value} names a folder above it", remedy)
    if not any((entry / "mgcl_trainers.py").is_file() for entry in entries):
        return Finding(VARIABLE, f"{value} has no mgcl_trainers.py", SET_UP)
    return Finding(VARIABLE, value)


def check_lookup() -> Finding:
    """Does nnU-Net's own search find the trainer?"""
    subject = f"nnU-Net finds {TRAINER}"
    try:
        with redirect_stdout(io.StringIO()):  # the search prints every folder and module
            find_objects = import_module("nnunetv2.utilities.find_objects")
            trainer = find_objects.recursive_find_trainer_class_by_name(TRAINER)
    except Exception as error:
        return Finding(subject, _one_line(error), remedy_for(error))
    return Finding(subject, f"{trainer.__module__}.{trainer.__qualname__}")


def remedy_for(error: Exception) -> str:
    """What to do about an error of an import or of nnU-Net's search."""
    text = str(error)
    if "torchvision" in text and ("does not exist" in text or "undefined symbol" in text):
        return SAME_BUILD
    if "Could not find requested nnunet trainer" in text:
        return SET_UP
    if isinstance(error, ImportError):
        return "install nnunet_mgcl again: pip install . in its folder brings everything it needs"
    return "not a known problem: python -c 'import torch, torchvision, nnunetv2' may show where it comes from"


def _print_report(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    # Nobody sees the right edge of a pipe: wrap there as on a wide screen.
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table("", "what", "found")
    for finding in findings:
        table.add_row(finding.mark, escape(finding.subject), escape(finding.found))
    console.print(table)
    for finding in findings:
        if finding.remedy:
            console.print(f"{finding.mark} {escape(finding.subject)}: {escape(finding.remedy)}", soft_wrap=True)
    if not any(finding.is_problem for finding in findings):
        console.print("Everything is in place.")


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _one_line(error: Exception) -> str:
    """The first line of an error's message, shortened, with its type."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:160]}"
