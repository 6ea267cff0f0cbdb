"""The tables of a converted dataset, made from the records of its cases: `dataset.json` and `tss.csv`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from nnunet_mgcl.convert.masks import label_numbers
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


def dataset_json(name: str, settings: Settings, training_cases: int) -> dict[str, Any]:
    """The content of `dataset.json`: nnU-Net's keys, the plugin's `mgcl`, and how the dataset was made."""
    numbers = {channel: number for number, channel in enumerate(settings.channels)}
    mgcl: dict[str, Any] = {"modalities": {m: [numbers[c] for c in own] for m, own in settings.modalities.items()}}
    if settings.masks in ((), ("",)):
        labels = {"background": 0, **label_numbers(settings.labels)}
    else:
        labels, mgcl["lesion_labels"] = label_names(settings.masks), lesion_labels(settings.masks)
    return {
        "channel_names": {str(number): channel for channel, number in numbers.items()},
        "labels": labels,
        "numTraining": training_cases,
        "file_ending": FILE_ENDING,
        "name": name,
        "mgcl": mgcl,
        MARK: _made(settings),
    }


def check_same_preparation(path: Path, settings: Settings) -> None:
    """Refuses test cases that would be prepared otherwise than the training cases.

    Raises:
        UserError: There is no `dataset.json` of this program, or an option differs.
    """
    if not is_there(path) or MARK not in (content := read_dataset_json(path)):
        remedy = "convert the training cases first (the same command without --test)"
        raise UserError(path, "no dataset that mgcl convert has finished", "the training cases", remedy)
    wanted, found = {"channels": list(settings.channels), **_made(settings)}, content[MARK]
    known = {"channels": list(channel_names(content).values()), **found}
    for option, value in wanted.items():
        if known.get(option) != value:
            raise UserError(
                f"--{option}", f"{_said(value)} for the test cases", f"{_said(known.get(option))}, as for training",
                "give both the same options, the same columns among them",
            )  # fmt: skip


def check_same_masks(path: Path, settings: Settings) -> None:
    """Refuses test cases whose masks have another form than those of the training cases.

    Raises:
        UserError: One has a mask a modality, the other one mask for all.
    """
    forms = {True: "a mask a modality", False: "one mask for all modalities"}
    trained, wanted = "lesion_labels" in (read_dataset_json(path).get("mgcl") or {}), settings.masks != ("",)
    if trained != wanted:
        remedy = "give both the same columns of masks, or the test cases none"
        raise UserError("the masks of the test cases", forms[wanted], f"{forms[trained]}, as for training", remedy)


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
            rows.append(row | {"patient": record.patient or record.case})
        elif hours:
            rows.append(row)
    if not rows:
        path.unlink(missing_ok=True)
        return
    text = csv_text(list(rows[0]), rows)
    if not is_there(path) or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def _made(settings: Settings) -> dict[str, Any]:
    """Options that test cases must share with training cases."""
    return {
        "reference": settings.reference or "none",
        "spacing": list(settings.spacing) if settings.spacing else None,
        "interpolation": settings.interpolation,
        "labels": dict(settings.labels),
        "modalities": {name: list(channels) for name, channels in settings.modalities.items()},
    }


def _said(value: Any) -> str:
    if value is None:
        return "not given"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
