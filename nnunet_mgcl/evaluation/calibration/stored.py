"""The calibration of a model, which lies in the plans.json of its results folder and travels with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from nnunet_mgcl.data.layout import validation_name
from nnunet_mgcl.evaluation.calibration.maps import Calibration
from nnunet_mgcl.plan.plans_file import read_plans
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import file_sha256, is_there, write_json
from nnunet_mgcl.system.typed_json import checked

JOIN = "+"
"""Between the names of modalities."""
KEY = "mgcl_calibration"
"""Beside the configurations in plans.json, where nnU-Net reads over it."""


class StoredCalibration(Calibration):
    """A map for new patients.

    Attributes:
        folds: Whose out-of-fold predictions it was fitted on.
        validation_sha256: Of the `validation/tss.csv` of each of them.
        reliability: Points of the reliability diagram of these predictions, `raw` and `calibrated` (cross-fitted).
        subsets: Maps for patients who lack modalities, by those that they have (`DWI+FLAIR`).
    """

    folds: list[int]
    validation_sha256: dict[str, str]
    reliability: dict[str, list[dict[str, Any]]]
    subsets: dict[str, StoredCalibration] = Field(default_factory=dict)


def map_of(calibration: Calibration | None, present: str, whole: str) -> Calibration | None:
    """The map for what a case was predicted from; None where there is none for it.

    Args:
        calibration: The model's, of cases with all modalities.
        present: The case's modalities, joined by `JOIN`.
        whole: All of the model.
    """
    if present == whole or calibration is None:
        return calibration
    return calibration.subsets.get(present) if isinstance(calibration, StoredCalibration) else None


def store_calibration(model: Path, tss: dict[str, Any], folds: list[int], all_folds: bool) -> str | None:
    """Writes the map of all folds into plans.json; where there is none, removes what is there.

    Args:
        model: The results folder.
        tss: What `evaluation.json` says about the TSS.
        folds: The evaluated folds.
        all_folds: Whether they are all folds of the split; else plans.json is left alone.

    Returns:
        What was done, in a line; None where there is nothing to say.
    """
    path = model / "plans.json"
    if not all_folds:
        return None if tss["reason"] else f"calibration: {path} is left as it is, all folds are needed to change it"
    plans = read_plans(path)
    earlier, fitted = plans.pop(KEY, None), fitted_calibration(tss)
    if fitted is None:
        removed = ""
        if earlier is not None:
            write_json(path, plans)
            removed = f"; removed the earlier one from {path}"
        elif tss["reason"]:
            return None
        reason = tss["reason"] or tss["calibration"]["reason"]
        return f"calibration: none, so that mgcl predict writes raw probabilities ({reason}){removed}"
    block = _block(model, fitted, folds)
    if isinstance(earlier, dict) and (subsets := earlier.get("subsets")):
        block["subsets"] = subsets
    write_json(path, plans | {KEY: block})
    return f"calibration: {block['method']}, from {block['cases']} cases, is in {path} for mgcl predict"


def store_subset(
    model: Path, tss: dict[str, Any], folds: list[int], all_folds: bool, without: Sequence[str], present: str
) -> str:
    """The same for cases that were predicted without some modalities, inside the block of the whole cases.

    Args:
        model: The results folder.
        tss: What their evaluation says about the TSS.
        folds: The evaluated folds.
        all_folds: Whether they are all folds of the split.
        without: The modalities that are missing.
        present: Those that are there, joined by `JOIN`.

    Returns:
        What was done, in a line.
    """
    path, what = model / "plans.json", f"calibration without {', '.join(without)}"
    plans, fitted = read_plans(path), fitted_calibration(tss)
    if not all_folds:
        return f"{what}: {path} is left as it is, all folds are needed to change it"
    if not isinstance(whole := plans.get(KEY), dict):
        return f"{what}: none, since whole cases have none; mgcl evaluate without --missing comes first"
    subsets = {name: own for name, own in whole.get("subsets", {}).items() if name != present}
    if fitted:
        subsets[present] = _block(model, fitted, folds, validation_name(without))
    others = {key: value for key, value in whole.items() if key != "subsets"}
    write_json(path, plans | {KEY: others | ({"subsets": subsets} if subsets else {})})
    reason = tss["reason"] or tss["calibration"]["reason"]
    return f"{what}: {f'in {path}' if fitted else f'none, mgcl predict writes raw probabilities ({reason})'}"


def _block(model: Path, fitted: dict[str, Any], folds: list[int], validation: str = "validation") -> dict[str, Any]:
    known = {"folds": folds, "validation_sha256": {str(fold): _digest(model, fold, validation) for fold in folds}}
    return StoredCalibration.model_validate(fitted | known).model_dump(exclude={"subsets"})


def fitted_calibration(tss: dict[str, Any]) -> dict[str, Any] | None:
    """What is stored of the calibration in `evaluation.json`; None where there is no map."""
    if tss["reason"] or tss["calibration"]["reason"]:
        return None
    return {key: tss["calibration"][key] for key in (*Calibration.model_fields, "reliability")}


def stored_calibration(plans: dict[str, Any], path: Path) -> StoredCalibration | None:
    """The map in a model's plans, if there is one.

    Args:
        plans: Their content.
        path: Their file, for the message.

    Raises:
        UserError: It is none that `mgcl evaluate` writes.
    """
    if KEY not in plans:
        return None
    remedy = f"run mgcl evaluate on all folds again, or remove {KEY} from the file"
    try:
        return checked(StoredCalibration, plans[KEY], f"{path}, {KEY}", remedy, separator=".")
    except UserError as error:  # of a key that is unknown it says another remedy
        raise UserError(error.where, error.found, error.expected, remedy) from None


def changed_folds(calibration: StoredCalibration, model: Path) -> list[int]:
    """The folds that were validated again since; a model that came as a zip has no `validation/tss.csv` to ask."""
    return [
        fold
        for fold in calibration.folds
        if is_there(_table(model, fold)) and _digest(model, fold) != calibration.validation_sha256.get(str(fold))
    ]


def _digest(model: Path, fold: int, validation: str = "validation") -> str:
    return file_sha256(_table(model, fold, validation))


def _table(model: Path, fold: int, validation: str = "validation") -> Path:
    return model / f"fold_{fold}" / validation / "tss.csv"
