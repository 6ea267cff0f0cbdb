"""`evaluation.json` and `evaluation_cases.csv`: where they lie, how they are written, and whether they are of use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from nnunet_mgcl import __version__
from nnunet_mgcl.data.layout import validation_name
from nnunet_mgcl.evaluation.runs.run import OVERLAY
from nnunet_mgcl.system.csv_table import write_csv
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import is_there, read_json, write_json
from nnunet_mgcl.system.typed_json import OpenModel

OTHER_KEYS = "not the content that this version writes"


class _Settings(OpenModel):
    surface_dice_tolerance_mm: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    sensitivity: Annotated[float, Field(gt=0, le=1)]


class _Case(OpenModel):
    case: str
    fold: int
    patient: str
    targets: dict[str, dict[str, float | None]]
    tss_class: int | None
    probability: float | None
    calibrated_probability: float | None


class _NoTSS(OpenModel):
    reason: Annotated[str, Field(min_length=1)]


class _Points(OpenModel):
    calibrated: Annotated[dict[str, Any], Field(alias="calibrated_0.5")]


class _TSS(OpenModel):
    reason: None
    cases: Any
    measures: dict[str, Any]
    operating_points: _Points
    calibration: dict[str, Any]


class _Evaluation(OpenModel):
    nnunet_mgcl: str
    dataset: str
    model: str
    folds: list[int]
    without: Any = ()
    cases_without_fold: Any
    divided_patients: list[str]
    settings: _Settings
    smallest_voxel_side_mm: Any
    segmentation: dict[str, Any]
    tss: _TSS | _NoTSS
    cases: list[_Case]


def evaluation_path(model: Path, folds: Sequence[int] | None, without: Sequence[str] = ()) -> Path:
    """`evaluation.json` of a results folder; its name tells what is missing, and the folds where they are not all."""
    missing = f"_without_{'_'.join(without)}" if without else ""
    return model / f"evaluation{missing}{folds_suffix(folds)}.json"


def folds_suffix(folds: Sequence[int] | None) -> str:
    """What the name of a result of some folds ends with; nothing where it is of all (None)."""
    return "" if folds is None else f"_folds_{'_'.join(map(str, folds))}"


def write_evaluation(path: Path, content: dict[str, Any]) -> Path:
    """Writes the JSON file and, beside it, the CSV file with a row per case.

    Returns:
        The CSV file.
    """
    table = path.with_name(path.stem.replace("evaluation", "evaluation_cases") + ".csv")
    write_json(path, content)
    rows = []
    for case in content["cases"]:
        scores = {f"{measure}_{t}": v for t, measures in case["targets"].items() for measure, v in measures.items()}
        rows.append({key: value for key, value in case.items() if key != "targets"} | scores)
    write_csv(table, list(rows[0]), rows)
    return table


def stored_evaluation(path: Path) -> tuple[dict[str, Any] | None, str | None]:
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
    version = content.get("nnunet_mgcl") if isinstance(content, dict) else None
    if isinstance(version, str) and version != __version__:
        return None, f"of nnunet_mgcl {version}, and this is {__version__}"
    try:
        _Evaluation.model_validate(content)
    except ValidationError:
        return None, OTHER_KEYS
    return content, _outdated(path, content)


def newer(files: Iterable[Path], path: Path) -> Path | None:
    """The first of some files that changed after another one; those that are not there do not count."""
    written = path.stat().st_mtime
    return next((file for file in files if file.is_file() and file.stat().st_mtime > written), None)


def _outdated(path: Path, content: dict[str, Any]) -> str | None:
    """Which file of the validations is newer, or gone."""
    for fold in content["folds"]:
        folder = path.parent / f"fold_{fold}" / validation_name(content.get("without", ()))
        if file := newer((file for file in sorted(folder.glob("*")) if file.name != OVERLAY), path):
            return f"older than fold_{fold}/{folder.name}/{file.name}"
        if not content["tss"]["reason"] and not (folder / "tss.csv").is_file():
            return f"fold_{fold}/{folder.name}/tss.csv is no longer there"
    return None
