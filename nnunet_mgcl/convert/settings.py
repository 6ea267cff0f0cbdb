"""What the user asks `mgcl convert` for, and how the cases of a dataset are converted."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nnunet_mgcl.convert.manifest.channels import is_adc, is_dwi
from nnunet_mgcl.convert.manifest.table import ManifestRow
from nnunet_mgcl.convert.output.record import Destination
from nnunet_mgcl.data.dataset_name import dataset_folder
from nnunet_mgcl.data.images.checks import VOXEL_MM
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.workers import require_processes

VERSION = 2
"""Raised where a new version of the program would write other files from the same scans."""

ANY = "any"
"""In place of a label's value: every value above 0."""

Incomplete = Literal["refuse", "pool", "missing"]
"""What becomes of a row with a mask that lacks something: refused, without its mask to the pool, or labelled without
the modalities that it lacks."""

Modalities = dict[str, tuple[str, ...]]
"""Modality -> its channels."""

Labels = Mapping[str, Any]
"""Name of a label -> its value in the mask files, a number or `ANY`."""


@dataclass(frozen=True)
class Settings:
    """What is the same for every case.

    Attributes:
        channels: In the order of their numbers.
        modalities: Modality -> its channels.
        masks: (), ("",) or the modalities with a mask of their own.
        labels: Of the masks.
        reference: The channel that the others are registered to; None: they are registered already.
        engine: What registers.
        spacing: Size of a voxel in mm, `(x, y, z)`; None: the reference's own.
        interpolation: Of images.
        dwi_volume: Which volume of a DWI with several.
        adc_unit: Unit of the ADC maps, where a row of the manifest does not tell another.
        max_shift: A registration that moves the head's centre farther (mm) is in doubt.
        max_rotation: One that turns it more (degrees) is too.
    """

    channels: tuple[str, ...]
    modalities: Modalities
    masks: tuple[str, ...] = ()
    labels: Labels = field(default_factory=lambda: {"lesion": 1})
    reference: str | None = None
    engine: Literal["sitk", "elastix"] = "sitk"
    spacing: tuple[float, float, float] | None = None
    interpolation: Literal["linear", "bspline"] = "linear"
    dwi_volume: str | int | None = None
    adc_unit: str = "auto"
    max_shift: float = 25.0
    max_rotation: float = 20.0

    @property
    def mask_per_modality(self) -> bool:
        """Whether each modality has a mask of its own."""
        return any(self.masks)

    @property
    def label_numbers(self) -> dict[str, int]:
        """The labels as nnU-Net wants them, 1, 2, ... in the order of their values in the mask files."""
        return {name: number for number, name in enumerate(sorted(self.labels, key=self.labels.__getitem__), start=1)}

    def groups(self, row: ManifestRow, destination: Destination) -> list[tuple[str, ...]]:
        """The channels of a case that share a grid, the one whose grid it is first.

        nnU-Net reads all channels of a labelled case as one image; of a pool case only those of one modality.
        """
        if destination == "Un":
            groups = [tuple(c for c in channels if c in row.channels) for channels in self.modalities.values()]
            return [group for group in groups if group]
        there = [channel for channel in self.channels if channel in row.channels]
        first = self.reference or there[0]
        return [(first, *(channel for channel in there if channel != first))]

    def missing(self, row: ManifestRow, destination: Destination) -> tuple[str, ...]:
        """The modalities that a case with images of every channel lacks; a case of the pool has its own only."""
        groups = self.modalities.items() if destination != "Un" else ()
        return tuple(name for name, channels in groups if not any(channel in row.channels for channel in channels))

    def stand_ins(self, row: ManifestRow, destination: Destination) -> list[int]:
        """The numbers of the channels for which a case gets empty images: nnU-Net counts those of a labelled case."""
        if destination == "Un":
            return []
        return [number for number, channel in enumerate(self.channels) if channel not in row.channels]


def check_numbers(settings: Settings, processes: int) -> None:
    """Refuses numbers that nothing can be converted with.

    Raises:
        UserError: One is out of range.
    """
    require_processes(processes)
    shortest, longest = VOXEL_MM
    if settings.spacing and not all(shortest <= edge <= longest for edge in settings.spacing):  # NaN is not either
        expected = f"three lengths of {shortest:g} to {longest:g} mm"
        raise UserError("--spacing", str(list(settings.spacing)), expected, "choose others, such as 1 1 6")
    limits = (("--max-shift", settings.max_shift, "mm"), ("--max-rotation", settings.max_rotation, "degrees"))
    for option, value, unit in limits:
        if not 0 < value < math.inf:
            raise UserError(option, str(value), f"a number of {unit} above 0", "choose another number")


@dataclass(frozen=True)
class Options:
    """What the user asks for; `Settings` says more of what is the same for every case.

    Attributes:
        parent: Where the dataset's folder is, usually nnUNet_raw.
        id: Number of the dataset.
        name: Its name.
        settings: How cases are converted; its channels and modalities are those wanted, or empty, and its reference
            may be `none`.
        incomplete: What becomes of a row that lacks something.
        accept: Cases whose registration a person has found good.
        test: The rows are test cases of a dataset that is there.
        processes: How many convert at a time.
        as_named: Channels whose names are right, though they look like misspelt kinds.
    """

    parent: Path
    id: int
    name: str
    settings: Settings
    incomplete: Incomplete = "refuse"
    accept: Sequence[str] = ()
    test: bool = False
    processes: int = 1
    as_named: Sequence[str] = ()

    @property
    def folder(self) -> Path:
        """The dataset's folder."""
        return self.parent / dataset_folder(self.id, self.name)


def fingerprint(row: ManifestRow, destination: Destination, settings: Settings) -> str:
    """A hash of everything that the files of a case depend on."""
    groups = settings.groups(row, destination)
    several = any(len(group) > 1 for group in groups)
    content: dict[str, Any] = {
        "version": VERSION,
        "destination": destination,
        "groups": groups,
        "scans": {c: [settings.channels.index(c), _stamps(source)] for c, source in row.channels.items()},
        "spacing": settings.spacing,
    }
    if empty := settings.stand_ins(row, destination):
        content["empty"] = empty
    if several or settings.spacing:
        content["interpolation"] = settings.interpolation
    if several:
        content["registered"] = settings.reference is not None
        if settings.reference is not None:
            content["registration"] = [settings.engine, settings.max_shift, settings.max_rotation]
    if row.masks:
        content["masks"] = {name: path and _stamps(path) for name, path in row.masks.items()}
        content["labels"] = [settings.labels, settings.masks, settings.modalities if any(settings.masks) else None]
    if any(is_dwi(channel) for channel in row.channels):
        content["dwi_volume"] = settings.dwi_volume
    if any(is_adc(channel) for channel in row.channels):
        content["adc_unit"] = row.adc_unit or settings.adc_unit
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _stamps(source: str) -> list[tuple[str, int, int]]:
    """Names, sizes and times of change of a scan's files."""
    path = Path(source if os.path.exists(source) else source.rpartition("#")[0])
    try:
        if path.is_dir():
            return [(source, 0, 0), *_stamps_in(path)]
        beside = _data_files(path) if path.suffix.lower() in (".mhd", ".nhdr") else []
        return [_stamp(source, path), *beside]
    except OSError:  # reading it will say what is wrong
        return [(source, -1, -1)]


def _data_files(header: Path) -> list[tuple[str, int, int]]:
    """The files that a header without voxels names: one a line, after `=` or `:` or alone, or as a pattern."""
    with header.open("rb") as file:
        lines = file.read(2**20).decode("latin-1").splitlines()
    stamps = []
    for name in sorted({part.strip() for line in lines for part in (line, *re.split("[=:]", line)[1:])} - {""}):
        path = header.parent / name
        if "%" in name and path.parent.is_dir():
            stamps += _stamps_in(path.parent)
        elif os.path.isfile(path):
            stamps.append(_stamp(name, path))
    return stamps


def _stamps_in(folder: Path) -> list[tuple[str, int, int]]:
    return sorted(_stamp(path.name, path) for path in folder.iterdir())


def _stamp(name: str, path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return name, status.st_size, status.st_mtime_ns
