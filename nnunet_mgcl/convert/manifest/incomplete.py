"""Rows that lack a channel or a mask: what of them can be used, and when they are refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from nnunet_mgcl.convert.manifest.table import Manifest, ManifestRow, mask_column
from nnunet_mgcl.convert.settings import Modalities, Settings
from nnunet_mgcl.system.errors import UserError, some

TO_THE_POOL = "--incomplete pool uses the scans of incomplete rows without their masks"


def lacking(row: ManifestRow, manifest: Manifest) -> list[str]:
    """The columns that a row lacks: of channels and, where it has a mask, of masks."""
    channels = [channel for channel in manifest.channels if channel not in row.channels]
    return channels + [mask_column(name) for name in manifest.masks if row.masks and name not in row.masks]


def partial(row: ManifestRow, modalities: Modalities) -> list[tuple[str, list[str], list[str]]]:
    """Each modality of which the row has some channels only: its name, those, and the missing ones."""
    found = []
    for name, channels in modalities.items():
        present = [channel for channel in channels if channel in row.channels]
        if 0 < len(present) < len(channels):
            found.append((name, present, [channel for channel in channels if channel not in present]))
    return found


def whole_part(row: ManifestRow, modalities: Modalities) -> ManifestRow:
    """A row with nothing of the modalities that it lacks a channel of; a mask for all stays."""
    whole = [name for name, channels in modalities.items() if all(channel in row.channels for channel in channels)]
    used = {channel for name in whole for channel in modalities[name]}
    channels = {channel: source for channel, source in row.channels.items() if channel in used}
    return replace(row, channels=channels, masks={n: path for n, path in row.masks.items() if n == "" or n in whole})


def cannot_be_labelled(manifest: Manifest, settings: Settings) -> UserError | None:
    """Why not every row with a mask can be labelled without the modalities that it lacks; None: it can."""
    rows = [(row, whole_part(row, settings.modalities)) for row in manifest.rows if row.masks]
    if empty := [row for row, kept in rows if not kept.channels]:
        found = f"rows with a mask and no modality with all of its channels: {_listed(empty)}"
        return UserError(manifest.where, found, "one such modality at least", "add the files, or remove the rows")
    reference = settings.reference
    if reference and (without := [row for row, kept in rows if reference not in kept.channels]):
        everywhere = [channel for channel in settings.channels if all(channel in kept.channels for _, kept in rows)]
        another = f"--reference {' | '.join(everywhere)}, which all have; " if everywhere else ""
        return UserError(
            "--reference", f"{reference}; rows with a mask lack it, or a channel of its modality: {_listed(without)}",
            "a channel that all rows with a mask have, its modality whole",
            f"add the files; {another}--reference none where the channels are registered already; {TO_THE_POOL}",
        )  # fmt: skip
    if unmasked := [
        f"{mask_column(name)} ({_named(row)})"
        for row, kept in rows
        for name in settings.masks
        if name not in (*kept.masks, *settings.missing(kept, "Tr"))
    ]:
        expected = "in a row with a mask those of all modalities that it has"
        remedy = f"add the masks (`empty` where nothing is visible); {TO_THE_POOL}"
        return UserError(manifest.where, f"masks that are not there: {some(unmasked)}", expected, remedy)
    return None


def refuse_incomplete(manifest: Manifest, settings: Settings) -> None:
    """Refuses rows with a mask that lack something, and rows of the pool with a part of a modality.

    Raises:
        UserError: There are such rows.
    """
    labelled = [row for row in manifest.rows if row.masks]
    if incomplete := [(row, lacks) for row in labelled if (lacks := lacking(row, manifest))]:
        everywhere = [channel for channel in manifest.channels if all(channel in row.channels for row in labelled)]
        fewer = f"; --channels {' '.join(everywhere)} does without" if everywhere else ""
        if everywhere and settings.reference and settings.reference not in everywhere:
            fewer += f", with another --reference ({' | '.join([*everywhere, 'none'])})"
        missing = "; --incomplete missing labels these rows without the modalities that they lack"
        if cannot_be_labelled(manifest, settings):
            missing = ""
        raise UserError(
            manifest.where,
            "rows with a mask lack " + some([f"{' and '.join(lacks)} ({_named(row)})" for row, lacks in incomplete]),
            "every channel and every mask in a row with a mask",
            f"add the files{missing}; {TO_THE_POOL}{fewer}",
        )  # fmt: skip
    pool = [row for row in manifest.rows if not row.masks]
    parts = [(name, lacks, row) for row in pool for name, _, lacks in partial(row, settings.modalities)]
    if parts:
        raise UserError(
            manifest.where, some([f"{name} without {', '.join(lacks)} ({_named(row)})" for name, lacks, row in parts]),
            "all channels of a modality, or none",
            "add the files; --incomplete pool leaves these modalities' other channels out; --modality groups otherwise",
        )  # fmt: skip


def _listed(rows: Iterable[ManifestRow]) -> str:
    return some([_named(row) for row in rows])


def _named(row: ManifestRow) -> str:
    place = row.where.rpartition(", ")[2]
    return row.case if place == row.case else f"{place}, case {row.case}"
