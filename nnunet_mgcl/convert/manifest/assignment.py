"""Which row of a manifest goes where, and which of its channels are used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from nnunet_mgcl.convert.manifest.channels import KINDS, guess_kind, is_adc, leader, near_kinds
from nnunet_mgcl.convert.manifest.incomplete import (
    cannot_be_labelled,
    lacking,
    partial,
    refuse_incomplete,
    whole_part,
)
from nnunet_mgcl.convert.manifest.table import Manifest, ManifestRow, mask_column
from nnunet_mgcl.convert.output.record import Destination
from nnunet_mgcl.convert.settings import Incomplete, Modalities, Settings
from nnunet_mgcl.system.errors import UserError, check_known, suggestion
from nnunet_mgcl.system.names import check_branch_name

Log = Callable[[str], None]
Assignment = list[tuple[ManifestRow, Destination]]


def select_channels(manifest: Manifest, channels: Sequence[str], log: Log) -> Manifest:
    """The manifest with some of its channels, in the given order; rows that have none of them are left out.

    Raises:
        UserError: A channel is unknown or named twice.
    """
    check_known(channels, manifest.channels, "--channels", f"channels of {manifest.where}")
    if len(set(channels)) < len(channels):
        raise UserError("--channels", " ".join(channels), "each channel once", "remove one")
    rows = []
    for row in manifest.rows:
        kept = {channel: source for channel, source in row.channels.items() if channel in channels}
        if kept:
            rows.append(replace(row, channels=kept))
        else:
            log(f"{row.case}: left out, it has none of the channels {', '.join(channels)}")
    if not rows:
        raise UserError("--channels", " ".join(channels), "a channel that some row has", "choose other channels")
    return replace(manifest, channels=tuple(channels), rows=tuple(rows))


def check_kinds(manifest: Manifest, as_named: Sequence[str], log: Log) -> None:
    """Refuses channels whose names look like misspelt kinds: an `ACD` would be no ADC map, without a word.

    Args:
        manifest: With the channels in use.
        as_named: Those whose names are right as they are.
        log: Is told which channels are of no known kind.

    Raises:
        UserError: There is such a channel, or one of `as_named` is no channel.
    """
    check_known(as_named, manifest.channels, "--as-named", f"channels of {manifest.where}")
    for channel in manifest.channels:
        if channel not in as_named and (near := near_kinds(channel)):
            remedy = f"did you mean {' or '.join(near)}? Where the name is right: --as-named {channel}"
            raise UserError(manifest.where, f"channel {channel!r}", f"a known kind ({', '.join(KINDS)})", remedy)
    unknown = [channel for channel in manifest.channels if guess_kind(channel) is None]
    if unknown:
        log(f"{', '.join(unknown)}: no known kind of scan (own branch, no unit)")


def group_channels(channels: Sequence[str], wanted: Mapping[str, Sequence[str]], log: Log) -> Modalities:
    """The branches of the network: as wanted, or one per channel, where an ADC map joins the DWI it stems from.

    Raises:
        UserError: What is wanted does not have each channel exactly once.
    """
    if not wanted:
        owner = {channel: leader(channel, channels) if is_adc(channel) else channel for channel in channels}
        for channel in channels:
            if owner[channel] != channel:
                log(f"{channel} is a channel of the modality {owner[channel]} (--modality groups otherwise)")
        return {name: tuple(c for c in channels if owner[c] == name) for name in dict.fromkeys(owner.values())}
    for name in wanted:
        check_branch_name(name, "--modality")
    named = [channel for group in wanted.values() for channel in group]
    check_known(named, channels, "--modality", "channels in use")
    if sorted(named) != sorted(channels):
        expected = f"each of {', '.join(channels)} exactly once"
        remedy = f"name them all, as in --modality {' '.join(f'{channel}={channel}' for channel in channels)}"
        raise UserError("--modality", f"the channels {', '.join(named)}", expected, remedy)
    return {name: tuple(c for c in channels if c in group) for name, group in wanted.items()}


def check_masks(manifest: Manifest, modalities: Modalities, *, narrowed: bool, log: Log) -> Manifest:
    """The manifest with its mask columns in the modalities' order.

    Args:
        manifest: The manifest.
        modalities: The branches of the network.
        narrowed: Some channels were chosen: masks of the others are left out.
        log: Is told of these.

    Raises:
        UserError: There is a mask for what is no modality, or none for what is one.
    """
    if not any(manifest.masks):
        return manifest
    where = f"{manifest.where}, line 1"
    unused = [name for name in manifest.masks if name not in modalities]
    if unused and not narrowed:
        close = suggestion(unused[0], modalities)
        raise UserError(where, f"column {mask_column(unused[0])}", f"masks of {', '.join(modalities)}", close)
    if missing := [mask_column(name) for name in modalities if name not in manifest.masks]:
        remedy = "add the columns, choose --channels without it, or name the one column `mask`"
        raise UserError(where, f"no column {', '.join(missing)}", "a mask for every modality, or one `mask`", remedy)
    if unused:
        log(f"{', '.join(map(mask_column, unused))}: not used, no such modality among the chosen channels")
    rows = (replace(row, masks={n: row.masks[n] for n in modalities if n in row.masks}) for row in manifest.rows)
    return replace(manifest, masks=tuple(modalities), rows=tuple(rows))


def assign(manifest: Manifest, settings: Settings, incomplete: Incomplete, log: Log) -> Assignment:
    """Rows with a mask become labelled cases, the others the pool.

    Args:
        manifest: With the channels and masks in use.
        settings: Their grouping, and the reference.
        incomplete: What becomes of a row with a mask but without some channel or another mask, and of a row of the
            pool with a part of a modality's channels: refused, or what is usable goes to the pool; with `missing` a row
            with a mask is labelled without the modalities that it lacks.
        log: Is told of each such row.

    Raises:
        UserError: There are such rows, and they are to be refused.
    """
    if incomplete == "refuse":
        refuse_incomplete(manifest, settings)
    elif incomplete == "missing" and (error := cannot_be_labelled(manifest, settings)):
        raise error
    assigned: Assignment = []
    for row in manifest.rows:
        lacks, kept = lacking(row, manifest), whole_part(row, settings.modalities)
        labelled = row.masks and (not lacks or incomplete == "missing")
        if row.masks and not labelled:
            log(f"{row.case}: no {' and no '.join(lacks)}: to the pool, its mask is not used")
        for name, channels, absent in partial(row, settings.modalities):
            log(f"{row.case}: {', '.join(channels)} left out, {name} lacks {', '.join(absent)}")
        if labelled:
            assigned.append((kept, "Tr"))
            _tell_missing(row, kept, settings, log)
        elif kept.channels:
            assigned.append((replace(kept, masks={}), "Un"))
        else:
            log(f"{row.case}: left out, it has no modality with all of its channels")
    return assigned


def assign_test(manifest: Manifest) -> Assignment:
    """All rows become test cases.

    Raises:
        UserError: A row lacks a channel, or has a part of its masks.
    """
    for row in manifest.rows:
        if lacks := lacking(row, manifest):
            expected = f"every channel ({', '.join(manifest.channels)}) of a test case, and all of its masks or none"
            raise UserError(row.where, f"no {' and no '.join(lacks)}", expected, "add the file, or remove the row")
    return [(row, "Ts") for row in manifest.rows]


def _tell_missing(row: ManifestRow, kept: ManifestRow, settings: Settings, log: Log) -> None:
    for name in settings.missing(kept, "Tr"):
        unused = f", {mask_column(name)} is not used" if name in row.masks else ""
        log(f"{row.case}: labelled without {name}: empty images stand in for its channels{unused}")
