"""The good trees, each made once, and how rows become tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nnunet_mgcl.data.layout import DatasetLayout
from nnunet_mgcl.evaluation.statistics import intervals
from nnunet_mgcl.system.resources import trainers_dir
from tests.conftest import Once
from tests.contract.conftest import dataset, make_run, make_trainer, workspace  # noqa: F401
from tests.contract.models import save_fold

Build = Callable[[Path], object]
Copy = Callable[[str, Build], Path]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A row that is not quick is a slow test, but in a module that says that all of its rows are quick."""
    if "row" in metafunc.fixturenames:
        rows, all_quick = metafunc.module.ROWS, getattr(metafunc.module, "ALL_QUICK", False)
        assert len({row.name for row in rows}) == len(rows)
        marks = [[] if all_quick or row.quick else [pytest.mark.slow] for row in rows]
        metafunc.parametrize("row", [pytest.param(r, id=r.name, marks=m) for r, m in zip(rows, marks, strict=True)])


@pytest.fixture
def copy(once: Once, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Copy:
    """Copies a tree, which the first caller builds, to a working folder of its own, where nnU-Net looks too."""

    def make(name: str, build: Build) -> Path:
        tree = once(f"tree {name}", tmp_path / "outside" / "tree", build)
        for variable in ("raw", "preprocessed", "results"):
            monkeypatch.setenv(f"nnUNet_{variable}", str(tree / variable))
        monkeypatch.setenv("nnUNet_extTrainer", str(trainers_dir()))
        monkeypatch.setattr(intervals, "RESAMPLES", 60)
        monkeypatch.chdir(tree)
        return tree

    return make


@pytest.fixture
def scans(copy: Copy, scan_template: Path, converting_here: None) -> Path:
    """`scans`, raw scans with a manifest."""
    return copy("scans", lambda tree: shutil.copytree(scan_template, tree / "scans"))


@pytest.fixture
def planned(copy: Copy, request: pytest.FixtureRequest) -> Path:
    """`raw` and `preprocessed` of a dataset that nnU-Net has planned and preprocessed."""

    def build(tree: Path) -> None:
        layout: DatasetLayout = request.getfixturevalue("tiny_dataset")
        for kind in (layout.raw, layout.preprocessed):
            shutil.copytree(kind, tree / kind.parent.name / kind.name)

    return copy("planned", build)


@pytest.fixture
def model(copy: Copy, tiny_template: Path, request: pytest.FixtureRequest) -> Path:
    """`model` with one fold of random weights that count as trained, and `images` of two cases for it."""

    def build(tree: Path) -> None:
        shutil.copytree(save_fold(request.getfixturevalue("make_trainer")(labels="masks")), tree / "model")
        (tree / "images").mkdir()
        for path in tiny_template.glob("imagesTr/case_[01]_*"):
            shutil.copy(path, tree / "images")

    return copy("model", build)


@pytest.fixture
def validated(copy: Copy, request: pytest.FixtureRequest) -> Path:
    """`preprocessed` and `results` of three trained and validated folds."""

    def build(tree: Path) -> None:
        run: Path = request.getfixturevalue("make_run")()
        root = run.parents[2]
        for kind in ("preprocessed", "results"):
            shutil.copytree(root / kind, tree / kind)

    return copy("validated", build)
