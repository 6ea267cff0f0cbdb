"""The images to predict, checked before a worker process trips over them."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from nnunet_mgcl.dataset_json import channel_names
from nnunet_mgcl.errors import UserError

ALL_IN_ONE = ("NaturalImage2DIO",)
"""nnU-Net's readers that may find all channels in one file."""


def require_images(folder: Path, dataset_json: dict[str, Any], reader: str) -> None:
    """Checks that every case has a file for each channel that the model was trained on, and no other.

    nnU-Net counts a case's files and never reads their channel numbers: 0001 and 0002 would pass for 0000 and 0001.

    Args:
        folder: Where the files `CASE_CCCC<file ending>` are.
        dataset_json: The model's.
        reader: Name of the class that reads the images.

    Raises:
        UserError: There is no image, a file is not named so, or a case's channels are others.
    """
    ending, known = dataset_json["file_ending"], channel_names(dataset_json)
    fitting = [set(known), {0}] if reader in ALL_IN_ONE else [set(known)]
    cases: dict[str, set[int]] = defaultdict(set)
    for path in sorted(folder.glob(f"*{ending}")):
        match = re.fullmatch(r"(.+)_(\d{4})", path.name.removesuffix(ending))
        if not match:
            raise UserError(path, f"the name {path.name}", f"CASE_CCCC{ending}", "rename it or move it elsewhere")
        cases[match[1]].add(int(match[2]))
    if not cases:
        raise UserError(folder, "no image", f"files CASE_CCCC{ending}, as the model was trained on", "check -i")
    for case, channels in cases.items():
        if channels not in fitting:
            raise UserError(
                f"{folder}, case {case}", f"channels {sorted(channels)}", f"{known}", "add, rename or remove its files"
            )
