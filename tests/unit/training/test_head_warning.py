from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from nnunet_mgcl.data.layout import FoldLayout
from nnunet_mgcl.engine.training_warnings import read_warnings
from nnunet_mgcl.plan.memory import MemoryEstimate
from nnunet_mgcl.plan.plans import resolve_block
from nnunet_mgcl.system.files import write_json
from nnunet_mgcl.training import head_warning as module
from nnunet_mgcl.training.head_warning import reaches_chance, warn_of_head


@pytest.fixture
def memory(plans, dataset_json):
    plans["configurations"]["2d"]["mgcl"] = {"tss": {"head": "mrff"}}
    return MemoryEstimate(plans, "2d", dataset_json, resolve_block(plans, "2d", dataset_json, tss_known=True))


@pytest.mark.parametrize(("positive", "negative"), [(30, 30), (60, 10), (20, 60)])
def test_interval_is_that_of_many_draws(positive, negative) -> None:
    """Normal scores of two classes, one sd apart: AUROC 0.76; its spread over draws is the formula's."""
    random = np.random.default_rng(0)
    draws = random.normal(size=(4000, positive, 1)) + 1 > random.normal(size=(4000, 1, negative))
    aurocs = draws.mean(axis=(1, 2))
    lowest = aurocs.mean() - 1.96 * aurocs.std()
    found = min(auroc for auroc in np.linspace(0.5, 1, 501) if not reaches_chance(auroc, positive, negative))
    assert lowest > 0.5 and found == pytest.approx(0.5 + 1.96 * aurocs.std(), abs=0.03)


@pytest.fixture
def trainer(tmp_path, memory, monkeypatch):
    """A validated fold whose head has learned its training cases."""
    lines: list[str] = []
    monkeypatch.setattr(module, "_training_auroc", lambda _: lines.append("asked") or 1.0)
    layout = FoldLayout(tmp_path)
    return SimpleNamespace(fold_layout=layout, config=memory.config, memory=memory, log=lines.append, lines=lines)


def validated(trainer, auroc, positive=12, negative=8) -> None:
    content = {"AUROC": auroc, "cases": positive + negative, "positive": positive}
    write_json(trainer.fold_layout.validation / "tss_summary.json", content)
    warn_of_head(trainer)


@pytest.mark.parametrize(
    ("train", "validation", "cases", "warns"),
    [
        (1.0, 0.6, (20, 20), True),
        (0.9, 0.5, (20, 20), True),
        (0.89, 0.5, (20, 20), False),  # it has not even learned its training cases
        (1.0, 0.75, (20, 20), False),
        (1.0, 0.75, (3, 3), True),  # few cases prove nothing
        (1.0, 0.2, (20, 20), True),
        (None, 0.5, (20, 20), False),
    ],
)
def test_head_that_fits_its_training_cases_alone(trainer, monkeypatch, train, validation, cases, warns) -> None:
    monkeypatch.setattr(module, "_training_auroc", lambda _: train)
    validated(trainer, validation, *cases)
    found = read_warnings(trainer.fold_layout.warnings)
    assert len(found) == warns
    for warning in found:
        assert f"{sum(cases)} validation cases (AUROC {validation:.2f}" in warning.message
        assert "--set tss.head=lesion" in warning.remedy


def test_warning_is_noted_and_goes_with_a_better_validation(trainer) -> None:
    validated(trainer, 0.55)
    (warning,) = read_warnings(trainer.fold_layout.warnings)
    assert trainer.lines == ["asked", f"WARNING {warning}"] and (warning.phase, warning.branch) == ("tss", "mrff")
    validated(trainer, 0.95)
    assert read_warnings(trainer.fold_layout.warnings) == [] and len(trainer.lines) == 2


@pytest.mark.parametrize("auroc", [None, 0.95])
def test_training_cases_are_not_asked_without_need(trainer, auroc) -> None:
    validated(trainer, auroc)
    assert trainer.lines == []


def test_without_a_head_there_is_nothing_to_say(trainer) -> None:
    warn_of_head(trainer)
    assert not trainer.fold_layout.warnings.exists()
