"""Predicts a model's validation cases once more, without some modalities."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from nnunet_mgcl.data.cases.incomplete import Incomplete
from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.inference.folder_predictor import FolderPredictor
from nnunet_mgcl.inference.input_folder import Images, read_images
from nnunet_mgcl.inference.loading import load_predictor
from nnunet_mgcl.inference.missing import Missing
from nnunet_mgcl.inference.parts import Part
from nnunet_mgcl.system.errors import UserError, some
from nnunet_mgcl.system.files import is_there, make_folder


def predict_without(run: ValidatedRun, names: list[str], device: torch.device, npp: int, nps: int) -> ValidatedRun:
    """Predicts the validation cases of every fold by the fold's own model, as `mgcl predict --missing` would.

    Args:
        run: The model, whose validations are whole.
        names: Modalities that are left out.
        device: Where to compute.
        npp: Preprocessing processes.
        nps: Export processes.

    Returns:
        The same folds with these predictions, in `validation_without_<names>` of each.

    Raises:
        UserError: A modality is unknown, or the raw images are not there.
    """
    names = [name for name in run.modalities if name in names] + [name for name in names if name not in run.modalities]
    missing = Missing(run.modalities, names)
    reader = run.plans.image_reader_writer_class.__name__
    missing.check(reader)
    images = read_images(_raw_images(run), run.dataset_json, reader, missing, {*run.cases})
    if lost := sorted({*run.cases} - {*images.cases}):
        raise UserError(images.folder, f"no images of {some(lost)}", "those of every validation case", "restore them")
    images = _of_incomplete(images, run.incomplete)
    without = replace(run, without=tuple(names))
    for fold in run.folds:
        predictor = load_predictor(FolderPredictor, run.model, [str(fold)], device)
        make_folder(without.validation(fold))
        predictor.predict_cases(
            _only(images, run.splits[fold]["val"]), without.validation(fold), Part(), save_probabilities=False,
            overwrite=True, npp=npp, nps=nps, prev_stage=None,
        )  # fmt: skip
    return ValidatedRun.find(run.layout, run.model, [str(fold) for fold in run.folds], names)


def _raw_images(run: ValidatedRun) -> Path:
    folder = run.layout.raw / "imagesTr" if run.layout.raw else None
    if folder is None or not is_there(folder, "folder"):
        expected = "the raw images of the validation cases"
        raise UserError(folder or "nnUNet_raw", "not there", expected, "export nnUNet_raw=<folder>")
    return folder


def _of_incomplete(images: Images, incomplete: Incomplete) -> Images:
    """Without the modalities that labelled cases lack, for which empty files stand in.

    Raises:
        UserError: Nothing is left of a case.
    """
    present = {case: [name for name in names if incomplete.has(case, name)] for case, names in images.present.items()}
    if nothing := sorted(case for case, names in present.items() if not names):
        raise UserError("--missing", f"all that {some(nothing)} has", "a modality left of each case", "leave it in")
    return replace(images, present=present)


def _only(images: Images, cases: list[str]) -> Images:
    """Some cases of a folder."""
    chosen = sorted(cases)
    return replace(
        images,
        cases={case: images.cases[case] for case in chosen},
        digests={case: images.digests[case] for case in chosen},
        present={case: images.present[case] for case in chosen},
    )
