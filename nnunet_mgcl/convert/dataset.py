"""Converts a whole manifest to a raw nnU-Net dataset: checks the request, then runs it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from nnunet_mgcl.convert.manifest.assignment import (
    Assignment,
    assign,
    assign_test,
    check_kinds,
    check_masks,
    group_channels,
    select_channels,
)
from nnunet_mgcl.convert.manifest.table import Manifest
from nnunet_mgcl.convert.output import case_files, tables
from nnunet_mgcl.convert.registration.engine_elastix import load_elastix
from nnunet_mgcl.convert.run import Log, Outcome, Run, Track
from nnunet_mgcl.convert.settings import ANY, Options, Settings
from nnunet_mgcl.data.dataset_name import check_number_and_name, check_number_is_free
from nnunet_mgcl.system.errors import UserError, check_known, counted, some
from nnunet_mgcl.system.run_lock import run_lock


def convert_dataset(manifest: Manifest, options: Options, log: Log, track: Track) -> Outcome:
    """Converts what has changed since the last run, and removes what is not asked for any more.

    Args:
        manifest: The cases.
        options: What to do with them.
        log: Is told what was decided for the user.
        track: Shows the progress of an iterator of a given length.

    Raises:
        UserError: Something is wrong that can be seen before any work; nothing on disk has been touched then.
    """
    if options.test and options.incomplete != "refuse":
        remedy = "remove one of both"
        if options.incomplete == "missing":
            remedy += "; cases that lack a modality are what `mgcl predict --allow-missing` is for, without --test"
        where = f"--incomplete {options.incomplete}"
        raise UserError(where, "with --test", "test cases that have every channel", remedy)
    manifest, settings = _settle(manifest, options, log)
    assignment = assign_test(manifest) if options.test else assign(manifest, settings, options.incomplete, log)
    check_known(options.accept, [row.case for row, _ in assignment], "--accept", "a case of the manifest")
    _check_target(options)
    if options.test:
        with_masks = any(row.masks for row, _ in assignment)
        tables.check_same_preparation(options.folder / "dataset.json", settings, with_masks=with_masks)
    if settings.engine == "elastix" and settings.reference:
        load_elastix()
    _report_assignment(assignment, settings, log)
    with run_lock(options.folder / case_files.CONVERT_FOLDER / ".lock", options.folder, "mgcl convert"):
        try:
            return Run(options, settings, assignment, log).execute(track)
        finally:
            case_files.remove_unused(options.folder)


def _settle(manifest: Manifest, options: Options, log: Log) -> tuple[Manifest, Settings]:
    """The manifest and the settings with everything that was left open decided."""
    wanted = options.settings
    if wanted.channels:
        manifest = select_channels(manifest, wanted.channels, log)
    check_kinds(manifest, options.as_named, log)
    modalities = group_channels(manifest.channels, wanted.modalities, log)
    manifest = check_masks(manifest, modalities, narrowed=bool(wanted.channels), log=log)
    settings = replace(wanted, channels=manifest.channels, modalities=modalities, masks=manifest.masks)
    _check_labels(settings)
    return manifest, replace(settings, reference=_reference(wanted.reference, manifest.channels))


def _reference(wanted: str | None, channels: Sequence[str]) -> str | None:
    if wanted == "none" or (wanted is None and len(channels) == 1):
        return None
    choices = [*channels, "none"]
    expected = f"--reference {' | '.join(choices)}"
    if wanted is None:
        remedy = "choose the channel that the others are registered to; none where they are registered already"
        raise UserError("--reference", "not given", expected, remedy)
    check_known([wanted], choices, "--reference", expected)
    return wanted


def _check_labels(settings: Settings) -> None:
    values = list(settings.labels.values())
    given = " ".join(f"{name}={value}" for name, value in settings.labels.items())
    for name, remedy in (("background", "leave it out: 0 is the background"), ("ignore", "give it another name")):
        if name in settings.labels:
            raise UserError("--labels", given, f"names other than nnU-Net's own {name!r}", remedy)
    if ANY in values and len(values) > 1:
        raise UserError("--labels", given, f"one label where it is {ANY}", f"--labels lesion={ANY}")
    if ANY not in values and (len(set(values)) < len(values) or not all(0 < value < 2**16 for value in values)):
        remedy = "give each label its own value in the mask files"
        raise UserError("--labels", given, "different values from 1 to 65535", remedy)
    if settings.mask_per_modality and len(values) > 1:
        found = f"{len(values)} labels, and a mask a modality"
        raise UserError("--labels", found, "one label then", "name its value in the mask files, as in lesion=1")


def _check_target(options: Options) -> None:
    """Refuses what is no dataset of this program."""
    check_number_and_name(options.id, options.name)
    target = options.folder
    nearest = next(path for path in (target, *target.absolute().parents) if os.path.lexists(path))
    if not nearest.is_dir():
        found = "a file" if nearest.exists() else "a link to nothing"
        raise UserError(nearest, found, "a folder for the dataset", "choose another -o, or move the file")
    check_number_is_free(target)
    is_ours = options.test or (target / case_files.CONVERT_FOLDER).is_dir()
    if not is_ours and target.exists() and any(target.iterdir()):
        remedy = "choose another --id, or remove the folder yourself if nobody needs it"
        raise UserError(target, "a dataset that mgcl convert has not written", "a new folder, or its own", remedy)


def _report_assignment(assignment: Assignment, settings: Settings, log: Log) -> None:
    log("Channels: " + ", ".join(f"{channel} ({number})" for number, channel in enumerate(settings.channels)))
    if settings.reference is None and len(settings.channels) > 1:
        log("--reference none: the channels are taken for registered, and resampled where their grids differ")
    pool = [row for row, destination in assignment if destination == "Un"]
    untimed = [row.case for row in pool if row.tss_hours is not None]
    if untimed:
        log(f"The time since onset of {counted(len(untimed), 'case')} of the pool is not used ({some(untimed)})")
    if pool and settings.reference:
        log("Pool: modalities stay unregistered; channels of one modality are registered where their grids differ")
