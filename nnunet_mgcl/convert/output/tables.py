"""The tables of a converted dataset, made from the records of its cases: `dataset.json` and `tss.csv`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from nnunet_mgcl.convert.output.case_files import FILE_ENDING
from nnunet_mgcl.convert.output.record import CaseRecord
from nnunet_mgcl.convert.settings import Settings
from nnunet_mgcl.data.images.bit_mask import label_names, lesion_labels
from nnunet_mgcl.plan.dataset_json import channel_names, read_dataset_json
from nnunet_mgcl.system.csv_table import csv_text
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import is_there, write_json, write_text

MARK = "mgcl_convert"
"""The key of `dataset.json` that holds how the dataset was made."""


def dataset_json(name: str, settings: Settings, labelled: Sequence[CaseRecord]) -> dict[str, Any]:
    """The content of `dataset.json`: nnU-Net's keys, the plugin's `mgcl`, and how the dataset was made."""
    numbers = {channel: number for number, channel in enumerate(settings.channels)}
    mgcl: dict[str, Any] = {"modalities": {m: [numbers[c] for c in group] for m, group in settings.modalities.items()}}
    if settings.mask_per_modality:
        labels, mgcl["lesion_labels"] = label_names(settings.masks), lesion_labels(settings.masks)
    else:
        labels = {"background": 0, **settings.label_numbers}
    if missing := {record.case: list(record.missing) for record in labelled if record.missing}:
        mgcl["missing"] = missing
    return {
        "channel_names": {str(number): channel for channel, number in numbers.items()},
        "labels": labels,
        "numTraining": len(labelled),
        "file_ending": FILE_ENDING,
        "name": name,
        "mgcl": mgcl,
        MARK: _preparation(settings),
    }


def check_same_preparation(path: Path, settings: Settings, *, with_masks: bool) -> None:
    """Refuses test cases that would be prepared otherwise than the training cases.

    Args:
        path: `dataset.json` of the training cases.
        settings: Those of the test cases.
        with_masks: Whether some of these have masks, which must then be of the training cases' form.

    Raises:
        UserError: There is no `dataset.json` of this program, an option differs, or only one of the two has a mask per
            modality.
    """
    if not is_there(path) or MARK not in (content := read_dataset_json(path)):
        remedy = "convert the training cases first (the same command without --test)"
        raise UserError(path, "no dataset that mgcl convert has finished", "the training cases", remedy)
    trained = {"channels": list(channel_names(content).values()), **content[MARK]}
    for option, value in {"channels": list(settings.channels), **_preparation(settings)}.items():
        if trained.get(option) != value:
            raise UserError(
                f"--{option}", f"{_shown(value)} for the test cases", f"{_shown(trained.get(option))}, as for training",
                "give both the same options, the same columns among them",
            )  # fmt: skip
    forms = {True: "a mask a modality", False: "one mask for all modalities"}
    per_modality = "lesion_labels" in (content.get("mgcl") or {})
    if with_masks and per_modality != settings.mask_per_modality:
        remedy = "give both the same columns of masks, or the test cases none"
        expected = f"{forms[per_modality]}, as for training"
        raise UserError("the masks of the test cases", forms[settings.mask_per_modality], expected, remedy)


def differently_made(content: dict[str, Any], before: dict[str, Any]) -> bool:
    """Whether cases that fit one `dataset.json` do not fit the other, where there is one."""
    return bool(before) and any(content[key] != before.get(key) for key in ("channel_names", MARK))


def write_dataset_json(path: Path, content: dict[str, Any], before: dict[str, Any], log: Callable[[str], None]) -> None:
    """Writes `dataset.json` where it is missing or differs, and says which keys are others than they were before."""
    changed = [key for key in {**before, **content} if before.get(key) != content.get(key) and key != "numTraining"]
    if before and changed:
        log(f"dataset.json: {', '.join(changed)} changed")
    if not is_there(path) or content != before:
        write_json(path, content)


def write_tss_table(path: Path, records: Iterable[CaseRecord]) -> None:
    """Writes the TSS and patients of cases, where any is known; else removes the table."""
    records = list(records)
    patients = any(record.patient for record in records)
    rows = []
    for record in records:
        hours = "" if record.tss_hours is None else repr(record.tss_hours)  # all digits: 4.4999999 is below 4.5
        row = {"case": record.case, "tss_hours": hours}
        if patients:  # every row has one then; a case without is a patient of its own
            row["patient"] = record.patient or record.case
        if patients or hours:
            rows.append(row)
    if not rows:
        path.unlink(missing_ok=True)
        return
    text = csv_text(list(rows[0]), rows)
    if not is_there(path) or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def _preparation(settings: Settings) -> dict[str, Any]:
    """Options that test cases must share with training cases."""
    return {
        "reference": settings.reference or "none",
        "spacing": list(settings.spacing) if settings.spacing else None,
        "interpolation": settings.interpolation,
        "labels": dict(settings.labels),
        "modalities": {name: list(channels) for name, channels in settings.modalities.items()},
    }


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value or "not given")
