"""Reads an `evaluation.json`, and says why one is of no use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from nnunet_mgcl import __version__
from nnunet_mgcl.errors import UserError
from nnunet_mgcl.evaluation.case_scores import CaseScores
from nnunet_mgcl.files import is_there, read_json

KEYS = (
    "nnunet_mgcl",
    "dataset",
    "model",
    "folds",
    "cases_without_fold",
    "divided_patients",
    "settings",
    "smallest_voxel_side_mm",
    "segmentation",
    "tss",
    "cases",
)
SETTINGS = ("surface_dice_tolerance_mm", "sensitivity")
TSS_KEYS = ("cases", "measures", "operating_points", "calibration")
OTHER_KEYS = "not the content that this version writes"


def read_evaluation(path: Path) -> tuple[dict[str, Any] | None, str | None]:
    """The content, where this version wrote it, and why it is of no use, in words; None where it is current.

    Args:
        path: `evaluation.json` in its results folder, whose validations may have changed since.
    """
    if not is_there(path):
        return None, "there is none"
    try:
        content = read_json(path)
    except UserError as error:
        return None, error.found
    if why := _unusable(content):
        return None, why
    return content, _outdated(path, content)


def newer(files: Iterable[Path], path: Path) -> Path | None:
    """The first of some files that changed after another one; those that are not there do not count."""
    written = path.stat().st_mtime
    return next((file for file in files if file.is_file() and file.stat().st_mtime > written), None)


def _unusable(content: Any) -> str | None:
    """Whether this version has written it, as far as version and keys tell."""
    if not _has(content, KEYS):
        return OTHER_KEYS
    if content["nnunet_mgcl"] != __version__:
        return f"of nnunet_mgcl {content['nnunet_mgcl']}, and this is {__version__}"
    folds, tss, cases = content["folds"], content["tss"], content["cases"]
    names = [field.name for field in fields(CaseScores)]
    whole = isinstance(folds, list) and isinstance(cases, list) and all(_has(case, names) for case in cases)
    if not whole or not _has(content["settings"], SETTINGS) or not _has(tss, ["reason"]):
        return OTHER_KEYS
    if not tss["reason"] and not (_has(tss, TSS_KEYS) and _has(tss["operating_points"], ["calibrated_0.5"])):
        return OTHER_KEYS
    return None


def _has(content: Any, keys: Iterable[str]) -> bool:
    return isinstance(content, dict) and all(key in content for key in keys)


def _outdated(path: Path, content: dict[str, Any]) -> str | None:
    """Which file of the validations is newer, or gone."""
    for fold in content["folds"]:
        folder = path.parent / f"fold_{fold}" / "validation"
        if file := newer(sorted(folder.glob("*")), path):
            return f"older than fold_{fold}/validation/{file.name}"
        if not content["tss"]["reason"] and not (folder / "tss.csv").is_file():
            return f"fold_{fold}/validation/tss.csv is no longer there"
    return None
