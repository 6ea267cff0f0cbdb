"""Finds a trained model in nnUNet_results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nnunetv2.paths import nnUNet_results

from nnunet_mgcl.data.layout import dataset_name, models_with
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.names import check_names, fold_number

FINAL = "checkpoint_final.pth"


def results_of(dataset: str) -> Path:
    """The folder of a dataset's models.

    Raises:
        UserError: nnUNet_results is not set, or there is no such dataset.
    """
    if not nnUNet_results.is_set():
        raise UserError("nnUNet_results", "not set", "a folder", "export nnUNet_results=<folder>")
    return Path(nnUNet_results.require()) / dataset_name(dataset)


def model_folder(
    dataset: str, trainer: str, plans: str, configuration: str, folds: Sequence[str] = (), checkpoint: str = FINAL
) -> Path:
    """The results folder of a trained model, of which these folds must be there.

    Raises:
        UserError: A name is none, or the model or one of the folds is not there.
    """
    check_names({"-tr": trainer, "-p": plans, "-c": configuration})
    folder = results_of(dataset) / f"{trainer}__{plans}__{configuration}"
    require_folds(folder, folds, checkpoint)
    return folder


def require_folds(model: Path, folds: Sequence[str], checkpoint: str = FINAL) -> None:
    """Checks that a model's folds are trained.

    Raises:
        UserError: One of them is not.
    """
    check_names({"-chk": checkpoint})
    for fold in folds:
        if fold != "all":
            fold_number(fold, "numbers such as 0 1 2 3 4, or all")
        path = model / f"fold_{fold}" / checkpoint
        if not path.is_file():
            raise UserError(path, "no such file", "a trained fold", _remedy(model, checkpoint))


def trained_folds(model: Path, checkpoint: str = FINAL) -> list[str]:
    """Names of a model's folds that have a checkpoint: `0`, `1`, ..., `all`."""
    return sorted(path.parent.name.removeprefix("fold_") for path in model.glob(f"fold_*/{checkpoint}"))


def trained_with(dataset: str, plans: str) -> list[Path]:
    """The results folders of a dataset whose folds were begun with plans of this name."""
    if not nnUNet_results.is_set():
        return []
    return sorted({path.parent for path in results_of(dataset).glob(f"*__{plans}__*/fold_*")})


def _remedy(model: Path, checkpoint: str) -> str:
    if (model / checkpoint).is_file():
        return f"name the folder above the fold's, {model.parent}, and the fold with -f"
    if folds := sorted(path.parent.name for path in model.glob(f"fold_*/{checkpoint}")):
        return f"train it, or choose with -f among {folds}"
    if others := models_with(model.parent, "fold_*/checkpoint_*.pth"):
        return f"train the model, or name with -tr, -p and -c one of {others}"
    return "train the model, or name another"
