"""Reads the stored evaluations of models that are to be compared, and refuses those that are not of the same cases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnunet_mgcl.data.layout import models_with
from nnunet_mgcl.evaluation.runs.stored_evaluation import evaluation_path, stored_evaluation
from nnunet_mgcl.system.errors import UserError, some

INDEPENDENT = ("fold", "patient", "tss_class")
"""What a case has in every evaluation, also in that of a classifier, which segments nothing."""


def comparable_evaluations(models: Sequence[Path], folds: Sequence[int] | None) -> list[dict[str, Any]]:
    """Reads `evaluation.json` of each results folder.

    Args:
        models: The results folders.
        folds: Those that were evaluated; None: all.

    Raises:
        UserError: A model is named twice or not evaluated by this version, has been validated again since, or differs
            from the first one in dataset, folds, settings, cases, targets or references.
    """
    if len({model.resolve() for model in models}) < len(models):
        raise UserError("models", "one of them twice", "different models", "name each once")
    first, *others = (_read(model, folds) for model in models)
    for other in others:
        _require_same(*first, *other)
    return [content for _, content in (first, *others)]


def _read(model: Path, folds: Sequence[int] | None) -> tuple[Path, dict[str, Any]]:
    """The evaluation of these folds; they may be all folds of the split without being called so."""
    path = evaluation_path(model, None)
    content, why = stored_evaluation(path)
    if folds is not None and (content is None or content["folds"] != list(folds)):
        path = evaluation_path(model, folds)
        content, why = stored_evaluation(path)
    if content is None or why:
        remedy = "run mgcl evaluate with the -d, -tr, -p and -c of this folder, and the same -f"
        if not model.is_dir() and (evaluated := models_with(model.parent, "evaluation*.json")):
            remedy = f"name one of {evaluated}, or {remedy}"
        raise UserError(path, str(why), "a current evaluation", remedy)
    return path, content


def _require_same(first_path: Path, first: dict[str, Any], path: Path, content: dict[str, Any]) -> None:
    for key in ("dataset", "folds", "settings"):
        if first[key] != content[key]:
            expected = f"{first[key]}, as in {first_path}"
            raise UserError(f"{path}, {key}", f"{content[key]}", expected, "evaluate both alike")
    cases, first_cases = ({case["case"]: case for case in run["cases"]} for run in (content, first))
    if unpaired := sorted(cases.keys() ^ first_cases.keys()):
        found = f"{some(unpaired)} only in one of it and {first_path}"
        raise UserError(path, found, "the same cases", "train and evaluate both on the same split")
    for name, first_case in first_cases.items():
        reference, own = _reference(first_case), _reference(cases[name])
        shared = reference.keys() if first_case["targets"] and cases[name]["targets"] else INDEPENDENT
        for what, value in ((what, own.get(what)) for what in shared):
            if value != reference[what]:
                raise UserError(
                    f"{path}, case {name}, {what}", str(value), f"{reference[what]}, as in {first_path}",
                    "evaluate both again; where it stays, train both on the same split and labels",
                )  # fmt: skip


def _reference(case: dict[str, Any]) -> dict[str, Any]:
    """What must not depend on the model."""
    volumes = {f"reference volume of {t} in ml": scores["volume_ml"] for t, scores in case["targets"].items()}
    return {key: case[key] for key in INDEPENDENT} | {"targets": list(case["targets"])} | volumes
