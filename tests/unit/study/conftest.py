from __future__ import annotations

import json

import pytest

from nnunet_mgcl.study.jobs import Jobs
from nnunet_mgcl.study.study_file import read_study
from nnunet_mgcl.system.files import write_json

STUDY = {
    "dataset": 901,
    "trainers": ["MGCLTrainerRandomInit", "SimCLRTrainer"],
    "fractions": [0.5, 1.0],
    "folds": [0, 1],
    "seeds": [0, 7],
    "device": "cpu",
    "settings": {"simclr": {"epochs": 3}, "segment": {"epochs": 4}},
}


@pytest.fixture
def study_file(tmp_path):
    """`study_file(key=value)` writes a study file with other values; None leaves a key out."""

    def write(**changed):
        path = tmp_path / "first.toml"
        content = {key: value for key, value in (STUDY | changed).items() if value is not None}
        tables = {key: value for key, value in content.items() if isinstance(value, dict)}
        lines = [f"{key} = {json.dumps(value)}" for key, value in content.items() if key not in tables]
        for name, table in tables.items():
            lines += [f"{name} = {inline(table)}"]
        path.write_text("\n".join(lines))
        return path

    return write


def inline(value):
    """A TOML value on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {inline(own)}" for key, own in value.items()) + "}"
    return json.dumps(value)


@pytest.fixture
def make_jobs(tiny_dataset, study_file, monkeypatch, tmp_path):
    """The jobs of a study of the tiny dataset."""
    monkeypatch.setenv("nnUNet_raw", str(tiny_dataset.raw.parent))
    monkeypatch.setenv("nnUNet_preprocessed", str(tiny_dataset.preprocessed.parent))
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    return lambda **changed: Jobs(read_study(study_file(**changed)))


@pytest.fixture
def finish():
    """`finish(jobs, job, costs)` leaves what a trained and validated fold leaves."""

    def finish(jobs, job, costs=None):
        fold = jobs.fold(job)
        write_json(fold.validation / "summary.json", {})
        (fold.root / "checkpoint_final.pth").touch()
        if costs:
            write_json(fold.costs, costs)

    return finish
