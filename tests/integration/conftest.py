"""Runs the commands as a user would, in folders of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from nnunet_mgcl.system.resources import trainers_dir


def _environment(root: Path) -> dict[str, str]:
    """nnU-Net's folders below `root`, and as few worker processes as it can do with."""
    folders = {"nnUNet_raw": "raw", "nnUNet_preprocessed": "pre", "nnUNet_results": "res"}
    for folder in folders.values():
        (root / folder).mkdir(exist_ok=True)
    # The commands of this very environment, also where nobody has activated it.
    own = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    own |= {"nnUNet_extTrainer": str(trainers_dir()), "nnUNet_def_n_proc": "1", "nnUNet_n_proc_DA": "1"}
    return os.environ | {name: str(root / folder) for name, folder in folders.items()} | own


@pytest.fixture(scope="session")
def run() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`run(root, *command)` runs a command, whatever comes of it."""

    def run(root: Path, *command: object, **variables: str) -> subprocess.CompletedProcess[str]:
        words = [str(word) for word in command]
        return subprocess.run(words, env=_environment(root) | variables, capture_output=True, text=True)

    return run


@pytest.fixture(scope="session")
def call(run) -> Callable[..., str]:
    """`call(root, *command)` runs a command that must succeed, and returns what it printed."""

    def call(root: Path, *command: object, **variables: str) -> str:
        done = run(root, *command, **variables)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    return call


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", folder, Path(__file__).parents[2]]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def environment(wheel, tmp_path_factory) -> Path:
    """A virtual environment with the wheel in it, which borrows the packages it depends on."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--quiet", wheel], check=True)
    # Python does not follow the .pth files of a folder that a .pth file names, so the editable installation that
    # these tests may run from stays out of sight.
    site_packages = next(folder.glob("lib/python*/site-packages"))
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site_packages / "borrowed.pth").write_text("\n".join(borrowed))
    return folder
