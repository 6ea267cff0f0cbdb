"""One patient's page: images with outlines, volumes, mismatch and TSS."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_mgcl.data.images.single_slice import NO_THICKNESS, is_single_slice, volume_ml
from nnunet_mgcl.data.layout import folds_of
from nnunet_mgcl.evaluation.runs.label_map import read_label_map
from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.evaluation.tables.format import number
from nnunet_mgcl.pictures.case_panels import CasePanels
from nnunet_mgcl.pictures.overlay import montage_figure, outlines_in_words
from nnunet_mgcl.pictures.slice_choice import montage_slices
from nnunet_mgcl.plan.dataset_json import channel_names
from nnunet_mgcl.report.case_images import CaseImages, channel_files, own_targets
from nnunet_mgcl.report.page.section import Picture, Section, Table
from nnunet_mgcl.report.page.style import WIDTH, figure_style
from nnunet_mgcl.report.page.wording import without_folders
from nnunet_mgcl.report.patient.files import Patient, new_patient, validated_patient
from nnunet_mgcl.report.patient.mismatch import mismatch_section
from nnunet_mgcl.report.patient.tss import tss_section
from nnunet_mgcl.report.training_warnings import training_warnings
from nnunet_mgcl.system.errors import UserError, counted


def patient_sections(
    run: ValidatedRun, content: Mapping[str, Any], case: str, images: Path | None, predictions: Path | None
) -> list[Section]:
    """The page's sections.

    Args:
        run: The evaluated folds.
        content: Of their `evaluation.json`.
        case: The patient's case; a validated one has passed `require_validated`.
        images: Folder of the images of a new patient; None: a validated case.
        predictions: What `mgcl predict` wrote for them.

    Raises:
        UserError: There is no such new patient, or an image of one is missing.
    """
    if images is None or predictions is None:
        patient = validated_patient(run, content, case)
    else:
        patient = new_patient(run, case, images, predictions)
    return [
        Section("Patient", (patient.about, *_cautions(run.model))),
        tss_section(patient),
        images_section(run, patient),
        _volumes(run, patient),
        mismatch_section(run, patient),
    ]


def _cautions(model: Path) -> list[str]:
    """What the training warned of: a reader of one page does not see the others."""
    lines = []
    for fold in folds_of(model):
        if warnings := training_warnings(fold):
            places = ", ".join(dict.fromkeys(f"{warning.phase} {warning.branch}".strip() for warning in warnings))
            said = counted(len(warnings), "warning")
            lines.append(f"The training of {fold.root.name} ended with {said} ({places}): mgcl summary says which.")
    return lines


def images_section(run: ValidatedRun, patient: Patient) -> Section:
    """Every channel on some slices through the lesion, with outlines."""
    title = "Images"
    if patient.images is None:
        return Section(title, ("No pictures: nnUNet_raw is not set, and the images are there.",))
    files = channel_files(patient.images, patient.case, run.dataset_json)
    try:
        case = CaseImages.read(run, files, patient.prediction, patient.reference)
    except UserError as error:
        if patient.reference is None:
            raise
        return Section(title, (f"No pictures: {without_folders(error)}.",))
    names = channel_names(run.dataset_json)
    owner = {channel: modality for modality, channels in run.modalities.items() for channel in channels}
    rows = [case.panel(names[n], n, own_targets(run, owner.get(n, ""))) for n in names]
    panels = CasePanels(patient.case, rows, case.spacing, case.sides)
    with figure_style():
        figure = montage_figure(panels, montage_slices(panels), WIDTH)
    lesion = any(mask.any() for predicted in (False, True) for mask in panels.masks(predicted=predicted))
    where = "Slices through the lesion" if lesion else "No lesion; slices through the middle"
    known = "axial, seen from below: R is the patient's right side"
    view = known if case.sides else "the files do not say which side is which"
    whose = "each channel's own lesion" if run.lesion_labels else "all targets"
    caption = f"{where}, {view}. Outlines of {whose} ({outlines_in_words(rows)})."
    picture = Picture(f"case_{patient.case}_images", figure, caption, f"{len(rows)} channels of {patient.case}.", False)
    return Section(title, pictures=(picture,))


def _volumes(run: ValidatedRun, patient: Patient) -> Section:
    """A row a target."""
    title = "Volumes"
    reader = run.plans.image_reader_writer_class()
    segmentation, properties = read_label_map(patient.prediction, reader, "predict again")
    spacing = properties["spacing"]
    if is_single_slice(spacing):
        return Section(title, (f"The images are {NO_THICKNESS}: there are no volumes.",))
    if patient.scores is None:
        volumes = {name: volume_ml(np.isin(segmentation, labels), spacing) for name, labels in run.targets.items()}
        volume_rows = tuple((name, f"{volume:.1f}") for name, volume in volumes.items())
        return Section(title, tables=(Table("Volumes in ml", ("target", "prediction"), volume_rows),))
    rows, text = tuple((name, *_scored(scores)) for name, scores in patient.scores.items()), []
    if any("undefined" in row for row in rows):
        text.append("Undefined: neither reference nor prediction has a lesion.")
    for name, scores in patient.scores.items():
        if bool(scores["lesions"]) != bool(scores["predicted_lesions"]):
            why = "nothing was found" if scores["lesions"] else "there was nothing to find"
            text.append(f"HD95 of {name}: the image diagonal, as {why}.")
    columns = ("target", "reference, ml", "prediction, ml", "Dice", "HD95, mm", "lesions", "predicted lesions")
    return Section(title, tuple(text), (Table("Volumes and overlap", columns, rows),))


def _scored(scores: Mapping[str, Any]) -> tuple[str, ...]:
    volumes = (f"{scores[key]:.1f}" for key in ("volume_ml", "predicted_volume_ml"))
    overlap = (number(scores[key], key) for key in ("dice", "hd95_mm"))
    return (*volumes, *overlap, *(str(scores[key]) for key in ("lesions", "predicted_lesions")))
