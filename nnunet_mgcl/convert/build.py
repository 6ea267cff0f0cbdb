"""Builds a dataset from raw scans in one call from Python: what `mgcl convert` does, with its choices as arguments."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

from nnunet_mgcl.convert.dataset import convert_dataset
from nnunet_mgcl.convert.manifest.table import read_manifest
from nnunet_mgcl.convert.run import Outcome
from nnunet_mgcl.convert.settings import Options, Settings, check_numbers
from nnunet_mgcl.data.raw_dataset import Dataset, read_dataset
from nnunet_mgcl.system.errors import UserError, some


class Choices(TypedDict, total=False):
    """What else may be chosen, as the options of `mgcl convert` that are called so.

    Attributes:
        channels: Use these only, in this order.
        modalities: Channels of each branch of the network.
        labels: Name and value of each label in the mask files; a value `any`: every one above 0.
        spacing: Edges of a voxel in mm, in the order **x, y, z**; left out: as scanned.
        interpolation: Of the images.
        engine: What registers.
        dwi_volume: Which volume of a 4D DWI, from 1, or `last`.
        adc_unit: Unit of the ADC maps.
        max_shift: A registration that moves the head farther (mm) is in doubt.
        max_rotation: One that turns it more (degrees) is too.
    """

    channels: Sequence[str]
    modalities: Mapping[str, Sequence[str]]
    labels: Mapping[str, int | str]
    spacing: tuple[float, float, float]
    interpolation: Literal["linear", "bspline"]
    engine: Literal["sitk", "elastix"]
    dwi_volume: int | Literal["last"]
    adc_unit: Literal["auto", "mm2/s", "1e-3", "1e-6"]
    max_shift: float
    max_rotation: float


def build_dataset(
    manifest: str | PathLike[str], id: int, name: str, folder: str | PathLike[str] | None = None, *,
    reference: str | None = None, incomplete: Literal["refuse", "pool", "missing"] = "refuse",
    accept: Sequence[str] = (), test: bool = False, processes: int = 1, log: Callable[[str], None] = print,
    **choices: Unpack[Choices],
) -> Dataset:  # fmt: skip
    """Registers the scans of a manifest and writes them as a raw nnU-Net dataset with pool and TSS table.

    What `mgcl convert -i MANIFEST` does (docs/convert.md): a message names its options, which are called as these
    arguments. Called again, it converts what has changed. It works in processes of its own, so a script needs
    `if __name__ == "__main__":` around the call.

    Args:
        manifest: CSV file with a row for each patient.
        id: Number of the dataset, 1 to 999.
        name: Its name.
        folder: Its parent; None: `nnUNet_raw`.
        reference: Channel that the others are registered to; `none`: they are registered already.
        incomplete: What becomes of a row with a mask but without some channel: `refuse`; `pool`: its scans are used
            without the mask; `missing`: it is labelled without the modalities that it lacks.
        accept: Cases whose registration was looked at and found good.
        test: Whether the rows are test cases of a dataset that is there.
        processes: How many convert at a time.
        log: Takes a line on each decision that was made for you.
        choices: See `Choices`.

    Returns:
        The dataset, once no case failed or is in doubt.

    Raises:
        UserError: The request is wrong, or a case could not be converted or is in doubt; the others are there then.
    """
    parent = folder or os.environ.get("nnUNet_raw")
    if not parent:
        raise UserError("folder", "not given, and nnUNet_raw is not set", "a folder for the dataset", "folder=FOLDER")
    settings = Settings(reference=reference, **_as_the_command(choices))
    check_numbers(settings, processes)
    options = Options(Path(parent), id, name, settings, incomplete, accept, test, processes)
    outcome = convert_dataset(read_manifest(Path(manifest), log), options, log, lambda results, total: results)
    if not outcome.complete:
        raise _incomplete(outcome, options)
    return read_dataset(options.folder)


def _as_the_command(choices: Choices) -> dict[str, Any]:
    """The choices in the types that the command gives them: what has changed is converted again."""
    types: dict[str, Callable[[Any], Any]] = {
        "channels": tuple,
        "modalities": lambda groups: {modality: tuple(own) for modality, own in groups.items()},
        "labels": dict,
        "spacing": lambda edges: tuple(map(float, edges)),
        "max_shift": float,
        "max_rotation": float,
    }
    given: dict[str, Any] = {"channels": (), "modalities": {}, **choices}
    return {name: types[name](value) if name in types else value for name, value in given.items()}


def _incomplete(outcome: Outcome, options: Options) -> UserError:
    """What was not converted, by name: the first case's reason stands for all."""
    page = options.folder / "mgcl_convert" / "index.html"
    expected = "every case of the manifest in the dataset"
    if outcome.failures:
        case, error = next(iter(sorted(outcome.failures.items())))
        found = f"{some(sorted(outcome.failures))} not converted; {case}: {error.where}: {error.found}"
        return UserError(options.folder, found, expected, error.remedy)
    names = [record.case for record in outcome.held_back]
    doubts = "; ".join(outcome.held_back[0].all_doubts)
    found = f"{some(names)} held back; {names[0]}: {doubts}"
    return UserError(options.folder, found, expected, f"look at {page}; what is good nevertheless: accept={names}")
