"""What is noted with the pseudo-labels of a branch and round: a line a case, in a file of its own a rank."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nnunet_mgcl.system.files import explaining_writes, is_there, make_folder, read_text

NOTES = "notes"
"""The folder of these files: lines that two machines append to one file get lost on a network file system."""


def notes_file(folder: Path, rank: int) -> Path:
    """The file that a rank adds to."""
    return folder / NOTES / f"rank_{rank}.jsonl"


def add_note(folder: Path, rank: int, case: str, confidence: float | None, voxels: int) -> None:
    """Notes a case whose mask is written.

    Args:
        folder: The pseudo-labels'.
        rank: Of this process.
        case: The case.
        confidence: None without a lesion.
        voxels: Of its lesions.
    """
    path = notes_file(folder, rank)
    make_folder(path.parent)
    line = json.dumps({"case": case, "confidence": confidence, "voxels": voxels})
    with explaining_writes(path), path.open("a", encoding="utf-8") as stream:
        stream.write(f"\n{line}\n")  # behind half a line, too, that a killed run has left


def read_notes(folder: Path, cases: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Case -> `confidence` and `voxels`, of those cases that are noted."""
    noted = {}
    files = sorted((folder / NOTES).glob("rank_*.jsonl")) if is_there(folder / NOTES, "folder") else ()
    for line in (line for path in files for line in read_text(path, "a line a case").split("\n")):
        try:
            note = json.loads(line)
            noted[note["case"]] = {"confidence": note["confidence"], "voxels": note["voxels"]}
        except (ValueError, TypeError, KeyError):  # nothing, or half a line: the case is done again
            continue
    return {case: noted[case] for case in cases if case in noted}
