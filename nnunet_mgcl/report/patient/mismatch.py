"""Both mismatches of a patient, measured on the prediction and, where it is known, on the reference."""

from __future__ import annotations

from pathlib import Path

from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.mismatch.case_mismatch import REASON, MismatchOptions, Row, measure_case, mismatch_columns
from nnunet_mgcl.mismatch.roles import find_roles
from nnunet_mgcl.report.page.section import Section, Table
from nnunet_mgcl.report.patient.files import Patient

TITLE = "Mismatch"
NAMES = {
    "lesions": "DWI lesions of at least 0.5 ml",
    "flair_ratio": "FLAIR ratio, lesion over mirror region",
    "flair_positive": "DWI lesion visible in FLAIR (intensity ratio of 1.15 or more)",
    "flair_lesion_ml": "FLAIR mask, ml",
    "core_ml": "core (DWI), ml",
    "hypoperfused_ml": "hypoperfused, ml",
    "mismatch_ml": "mismatch, ml",
    "mismatch_ratio": "mismatch ratio, hypoperfused over core",
    "extend": "EXTEND: ratio > 1.2, mismatch > 10 ml, core < 70 ml",
    "defuse3": "DEFUSE 3: ratio ≥ 1.8, mismatch ≥ 15 ml, core < 70 ml",
}
_YES = ("flair_positive", "extend", "defuse3")
_MEANING = (
    "A DWI lesion that FLAIR does not show speaks for a TSS below 4.5 h (DWI-FLAIR mismatch). EXTEND (Ma et al., 2019) "
    "and DEFUSE 3 (Albers et al., 2018) are trials; yes means that the volumes meet their rule, which is only a part "
    "of their criteria. docs/mismatch.md defines every number."
)
_TWO_WAYS = (
    "Visible in FLAIR is measured on the FLAIR intensities inside the DWI lesion; the FLAIR mask is what the network, "
    "or the reference, has outlined. They are two findings, and may disagree."
)


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
    rows = tuple((NAMES[c], *(_cell(c, case.row) for case in measured.values())) for c in columns)
    tables = [Table("Mismatch", ("", *measured), rows)]
    if lesions := tuple((name, *_lesion(row)) for name, case in measured.items() for row in case.lesions):
        heading = ("of", "lesion", "side", "volume, ml", "centre x, y, z (RAS), mm", "FLAIR ratio", "visible in FLAIR")
        tables.append(Table("DWI lesions, the largest first", heading, lesions))
    meaning = [_MEANING, _TWO_WAYS] if "flair_lesion_ml" in columns else [_MEANING]
    reasons = [f"Not measured on the {name}: {c.row[REASON]}." for name, c in measured.items() if c.row[REASON]]
    return Section(TITLE, (*meaning, *reasons), tuple(tables))


def _cell(column: str, row: Row) -> str:
    value = row[column]
    if not value:
        return "not measured"
    if column in _YES:
        return "yes" if value == "1" else "no"
    return value if column == "lesions" else f"{float(value):.{2 if 'ratio' in column else 1}f}"


def _lesion(row: Row) -> tuple[str, ...]:
    centre = ", ".join(f"{float(row[axis]):.0f}" for axis in ("x_mm", "y_mm", "z_mm"))
    ratio = row["reason"] or _cell("flair_ratio", row)
    return (
        row["lesion"], row["side"] or "unknown", f"{float(row['volume_ml']):.1f}", centre, ratio,
        _cell("flair_positive", row),
    )  # fmt: skip
