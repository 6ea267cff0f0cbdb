"""Both mismatches of a patient, measured on the prediction and, where it is known, on the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.mismatch.case_mismatch import REASON, MismatchOptions, Row, measure_case, mismatch_columns
from nnunet_mgcl.mismatch.roles import find_roles
from nnunet_mgcl.report.page.section import Section
from nnunet_mgcl.report.patient.files import Patient

TITLE = "Mismatch"
_YES = ("flair_positive", "extend", "defuse3")


def mismatch_section(run: ValidatedRun, patient: Patient) -> Section:
    """Measures and tabulates; what cannot be measured has its reason in words."""
    roles = find_roles(run.dataset_json | {"mgcl": {"lesion_labels": run.lesion_labels}})
    columns = [column for column in mismatch_columns(roles) if column != REASON]
    if not columns:
        why = "it takes a DWI mask, and a FLAIR channel, a PWI mask or a Tmax channel (docs/mismatch.md)"
        return Section(TITLE, (f"Nothing can be measured in this dataset: {why}.",))
    images, ending = patient.images or Path(), run.dataset_json["file_ending"]
    files = {"reference": patient.reference, "prediction": patient.prediction}
    measured = {
        name: measure_case(images, ending, roles, MismatchOptions(), path)
        for name, path in files.items()
        if path is not None
    }
    words: dict[str, Any] = {"measures": columns, "measured": measured, "cell": _cell, "REASON": REASON}
    return Section.of(TITLE, "patient/words/mismatch", **words)


def _cell(column: str, row: Row) -> str:
    value = row[column]
    if not value:
        return "not measured"
    if column in _YES:
        return "yes" if value == "1" else "no"
    return value if column == "lesions" else f"{float(value):.{2 if 'ratio' in column else 1}f}"
