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
from nnunet_mgcl.pictures.case_panels import CasePanels
from nnunet_mgcl.pictures.overlay import montage_figure, outlines_in_words
from nnunet_mgcl.pictures.slice_choice import montage_slices
from nnunet_mgcl.plan.dataset_json import channel_names
from nnunet_mgcl.report.case_images import CaseImages, channel_files, own_targets
from nnunet_mgcl.report.page.section import Picture, Section
from nnunet_mgcl.report.page.style import WIDTH, figure_style
from nnunet_mgcl.report.page.wording import without_folders
from nnunet_mgcl.report.patient.files import Patient, new_patient, validated_patient
from nnunet_mgcl.report.patient.mismatch import mismatch_section
from nnunet_mgcl.report.patient.tss import tss_section
from nnunet_mgcl.report.training_warnings import training_warnings
from nnunet_mgcl.system.errors import UserError


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
        about_section(patient.about, run.model),
        tss_section(patient),
        images_section(run, patient),
        _volumes(run, patient),
        mismatch_section(run, patient),
    ]


def about_section(about: str, model: Path) -> Section:
    """Where everything comes from, and what the training warned of: a reader of one page does not see the others."""
    warned = [(fold.root.name, warnings) for fold in folds_of(model) if (warnings := training_warnings(fold))]
    return Section.of("Patient", "patient/words/patient", about=about, warned=warned)


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
    picture = Picture.of(
        f"case_{patient.case}_images",
        figure,
        "patient/words/images",
        drawing=False,
        run=run,
        patient=patient,
        lesion=lesion,
        sides=case.sides,
        outlines=outlines_in_words(rows),
        channels=len(rows),
    )
    return Section(title, pictures=(picture,))


def _volumes(run: ValidatedRun, patient: Patient) -> Section:
    """A row a target."""
    title = "Volumes"
    reader = run.plans.image_reader_writer_class()
    segmentation, properties = read_label_map(patient.prediction, reader, "predict again")
    spacing = properties["spacing"]
    if is_single_slice(spacing):
        return Section(title, (f"The images are {NO_THICKNESS}: there are no volumes.",))
    if patient.scores:
        return Section.of(title, "patient/words/scored_volumes", scores=patient.scores)
    volumes = {name: volume_ml(np.isin(segmentation, labels), spacing) for name, labels in run.targets.items()}
    return Section.of(title, "patient/words/predicted_volumes", volumes=volumes)
