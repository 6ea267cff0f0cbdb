"""Whether a folder of predictions is what a new patient's page takes it for: this model's, of a case that is new."""

from __future__ import annotations

from pathlib import Path

from nnunetv2.paths import nnUNet_preprocessed

from nnunet_mgcl.data.layout import DatasetLayout
from nnunet_mgcl.evaluation.calibration.stored import KEY
from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.inference.input_folder import image_digest
from nnunet_mgcl.inference.prediction_record import MODEL_KEY, noted_images
from nnunet_mgcl.plan.plans_file import read_plans
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import is_there, read_json


def require_new(run: ValidatedRun, name: str) -> None:
    """Checks that a case is none of the model's labelled ones, where the split is at hand.

    Raises:
        UserError: It is one.
    """
    if not nnUNet_preprocessed.is_set():
        return
    dataset = run.layout.name
    path = DatasetLayout(dataset, None, Path(nnUNet_preprocessed.require()) / dataset).splits
    if any(name in split[part] for split in (read_json(path) if is_there(path) else []) for part in split):
        raise UserError(
            f"--case {name}",
            f"a labelled case of {dataset}: the model knows it",
            "with -i and -s, a new patient",
            "leave -i and -s out; or rename the files of a new patient who is called the same",
        )


def require_same_model(run: ValidatedRun, predictions: Path) -> str | None:
    """Checks that this model wrote the predictions, by the plans.json that nnU-Net leaves beside them.

    Returns:
        A line where plans.json cannot tell.

    Raises:
        UserError: It was another model, or this one before it was trained or validated again.
    """
    path = predictions / "plans.json"
    if not is_there(path):
        return f"{predictions} has no plans.json: whether this model wrote the predictions cannot be checked"
    theirs, ours = read_plans(path), run.plans.plans
    for key in ("dataset_name", "plans_name"):
        if theirs.get(key) != ours.get(key):
            raise _of_another(predictions, f"{key} {theirs.get(key)}", f"{key} {ours.get(key)}")
    name, calibrations = theirs.get(MODEL_KEY, ""), [plans.get(KEY) or {} for plans in (theirs, ours)]
    if name.count("__") == 2 and name != run.model.name:  # else the user named it, whom mgcl predict -m lets
        raise _of_another(predictions, name, run.model.name)
    if all(calibrations):
        before, now = (each.get("validation_sha256") for each in calibrations)
        if before != now:
            raise _of_another(predictions, "another validation of the folds", f"{run.model.name} as it is now")
    elif not name:
        return f"{path} does not name the trainer: whether {run.model.name} wrote the predictions cannot be checked"
    return None


def require_same_images(predictions: Path, name: str, files: list[Path]) -> None:
    """Checks that a case was predicted from these images, where `mgcl predict` has noted it.

    Raises:
        UserError: It was predicted from others.
    """
    noted = noted_images(predictions).get(name)
    if noted and all(path.is_file() for path in files) and image_digest(files) != noted:
        raise UserError(
            f"-i {files[0].parent}, case {name}",
            f"other images than those of the prediction in {predictions}",
            "the very files that were predicted",
            "name their folder, or predict these into another one",
        )


def _of_another(predictions: Path, theirs: str, ours: str) -> UserError:
    return UserError(
        f"-s {predictions}",
        f"its plans.json is of {theirs}",
        ours,
        "name the model that wrote the predictions (-d, -tr, -p, -c), or predict with this one into another folder",
    )
