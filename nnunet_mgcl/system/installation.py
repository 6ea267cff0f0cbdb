"""Is everything in place? Every problem comes with its remedy."""

from __future__ import annotations

import io
import os
import platform
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path

from packaging.requirements import Requirement

from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.resources import FOLDERS, TRAINERS, trainers_dir

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


def examine() -> Iterator[Finding]:
    """Looks at everything in turn."""
    yield Finding("python", platform.python_version())
    yield from check_requirements()
    for check in (check_torch, check_torchvision):
        yield check()
    for name in FOLDERS:
        yield check_folder(name, os.environ.get(name))
    yield check_trainer_variable(os.environ.get(TRAINERS))
    yield check_lookup()


def check_requirements(name: str = "nnunet-mgcl") -> Iterator[Finding]:
    """Is the package installed, and all that it requires, and new enough?"""
    try:
        required = [Requirement(name), *map(Requirement, metadata.requires(name) or ())]
    except metadata.PackageNotFoundError:
        required = [Requirement(name)]
    for requirement in required:
        if requirement.marker is None:  # no extra
            yield check_version(requirement)


def check_version(required: Requirement) -> Finding:
    """Is one package installed, and new enough?"""
    try:
        version = metadata.version(required.name)
    except metadata.PackageNotFoundError:
        return Finding(required.name, "not installed", f"pip install {required.name}")
    if not required.specifier.contains(version, prereleases=True):
        return Finding(required.name, version, f"{required.specifier} is needed: pip install -U {required.name}")
    return Finding(required.name, version)


def check_torch() -> Finding:
    """Which device will train?"""
    try:
        torch = import_module("torch")
    except Exception as error:
        return _broken("device", error)
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
        return _broken("torchvision loads", error)
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
        return Finding(TRAINERS, "not set", SET_UP)
    try:
        expected = trainers_dir()
    except UserError as error:
        return Finding(TRAINERS, error.found, error.remedy)
    entries = [Path(entry).resolve() for entry in value.split(os.pathsep) if entry.strip()]
    if any(expected.is_relative_to(entry) and entry != expected for entry in entries):
        remedy = f"name the folder of the trainers only, {expected}: nnU-Net imports every file below it"
        return Finding(TRAINERS, f"{value} names a folder above it", remedy)
    if not any((entry / "mgcl_trainers.py").is_file() for entry in entries):
        return Finding(TRAINERS, f"{value} has no mgcl_trainers.py", SET_UP)
    return Finding(TRAINERS, value)


def check_lookup() -> Finding:
    """Does nnU-Net's own search find the trainer?"""
    subject = f"nnU-Net finds {TRAINER}"
    try:
        with redirect_stdout(io.StringIO()):  # the search prints every folder and module
            find_objects = import_module("nnunetv2.utilities.find_objects")
            trainer = find_objects.recursive_find_trainer_class_by_name(TRAINER)
    except Exception as error:
        return _broken(subject, error)
    return Finding(subject, f"{trainer.__module__}.{trainer.__qualname__}")


def _broken(subject: str, error: Exception) -> Finding:
    """Of an error of an import or of nnU-Net's search: its first line, shortened, and what to do about it."""
    text = str(error).strip()
    remedy = "not a known problem: python -c 'import torch, torchvision, nnunetv2' may show where it comes from"
    if "torchvision" in text and ("does not exist" in text or "undefined symbol" in text):
        remedy = SAME_BUILD
    elif "Could not find requested nnunet trainer" in text:
        remedy = SET_UP
    elif isinstance(error, ImportError):
        remedy = "install nnunet_mgcl again: pip install . in its folder brings everything it needs"
    first_line = text.split("\n")[0]
    return Finding(subject, f"{type(error).__name__}: {first_line[:160]}", remedy)
