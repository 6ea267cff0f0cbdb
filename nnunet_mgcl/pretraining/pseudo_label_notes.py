"""What is noted with the pseudo-labels of a branch and round: one file, a line a case, which is only ever added to."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nnunet_mgcl.system.files import explaining_writes, is_there, make_folder, read_json, read_text

NOTES = "notes.jsonl"


def add_note(folder: Path, case: str, confidence: float | None, voxels: int) -> None:
    """Notes a case whose mask is written.

    Args:
        folder: The pseudo-labels'.
        case: The case.
        confidence: None without a lesion.
        voxels: Of its lesions.
    """
    make_folder(folder)
    line = json.dumps({"case": case, "confidence": confidence, "voxels": voxels})
    with explaining_writes(folder / NOTES), (folder / NOTES).open("a", encoding="utf-8") as stream:
        stream.write(f"\n{line}\n")  # behind half a line, too, that a killed run has left


def read_notes(folder: Path, cases: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Case -> `confidence` and `voxels`, of those cases that are noted; earlier versions wrote a file a case."""
    noted = {}
    for line in read_text(folder / NOTES, "a line a case").split("\n") if is_there(folder / NOTES) else ():
        try:
            note = json.loads(line)
            noted[note["case"]] = {"confidence": note["confidence"], "voxels": note["voxels"]}
        except (ValueError, TypeError, KeyError):  # nothing, or half a line: the case is done again
            continue
    found = {}
    for case in cases:
        if case in noted:
            found[case] = noted[case]
        elif is_there(folder / f"{case}.json"):
            found[case] = read_json(folder / f"{case}.json")
    return found
