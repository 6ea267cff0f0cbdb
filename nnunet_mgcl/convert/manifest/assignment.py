"""Which row of a manifest goes where, and which of its channels are used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from nnunet_mgcl.convert.manifest.channels import KINDS, guess_kind, is_adc, leader, near_kinds
from nnunet_mgcl.convert.manifest.table import MASK_PREFIX, Manifest, ManifestRow
from nnunet_mgcl.convert.output.record import Destination
from nnunet_mgcl.convert.settings import Settings
from nnunet_mgcl.system.errors import UserError, some, suggestion
from nnunet_mgcl.system.names import check_branch_name

Modalities = dict[str, tuple[str, ...]]
Assignment = list[tuple[ManifestRow, Destination]]


def select_channels(manifest: Manifest, channels: Sequence[str], log: Callable[[str], None]) -> Manifest:
    """The manifest with some of its channels, in the given order; rows that have none of them are left out.

    Raises:
        UserError: A channel is unknown or named twice.
    """
    for channel in channels:
        if channel not in manifest.channels:
            raise UserError(
                "--channels", repr(channel), f"channels of {manifest.where}", suggestion(channel, manifest.channels)
            )
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


def check_kinds(manifest: Manifest, as_named: Sequence[str], log: Callable[[str], None]) -> None:
    """Refuses channels whose names look like misspelt kinds: an `ACD` would be no ADC map, without a word.

    Args:
        manifest: With the channels in use.
        as_named: Those whose names are right as they are.
        log: Is told which channels are of no known kind.

    Raises:
        UserError: There is such a channel, or one of `as_named` is no channel.
    """
    for channel in as_named:
        if channel not in manifest.channels:
            close = suggestion(channel, manifest.channels)
            raise UserError("--as-named", repr(channel), f"channels of {manifest.where}", close)
    for channel in manifest.channels:
        if channel not in as_named and (near := near_kinds(channel)):
            remedy = f"did you mean {' or '.join(near)}? Where the name is right: --as-named {channel}"
            raise UserError(manifest.where, f"channel {channel!r}", f"a known kind ({', '.join(KINDS)})", remedy)
    unknown = [channel for channel in manifest.channels if guess_kind(channel) is None]
    if unknown:
        log(f"{', '.join(unknown)}: no known kind of scan (own branch, no unit)")


def group_channels(
    channels: Sequence[str], wanted: Mapping[str, Sequence[str]], log: Callable[[str], None]
) -> Modalities:
    """The branches of the network: as wanted, or one a channel, where an ADC map joins the DWI it stems from.

    Raises:
        UserError: What is wanted does not have each channel exactly once.
    """
    if wanted:
        for name in wanted:
            check_branch_name(name, "--modality")
        named = [channel for group in wanted.values() for channel in group]
        for channel in named:
            if channel not in channels:
                raise UserError("--modality", f"channel {channel!r}", "channels in use", suggestion(channel, channels))
        if sorted(named) != sorted(channels):
            example = " ".join(f"{channel}={channel}" for channel in channels)
            raise UserError(
                "--modality", f"the channels {', '.join(named)}", f"each of {', '.join(channels)} exactly once",
                f"name them all, as in --modality {example}",
            )  # fmt: skip
        return {name: tuple(c for c in channels if c in group) for name, group in wanted.items()}
    modalities: dict[str, tuple[str, ...]] = {}
    for channel in channels:
        owner = leader(channel, channels) if is_adc(channel) else channel
        modalities[owner] = tuple(c for c in channels if c in (*modalities.get(owner, ()), channel))
        if owner != channel:
            log(f"{channel} is a channel of the modality {owner} (--modality groups otherwise)")
    order = sorted(modalities, key=lambda name: channels.index(modalities[name][0]))
    return {name: modalities[name] for name in order}


def check_masks(manifest: Manifest, modalities: Modalities, *, narrowed: bool, log: Callable[[str], None]) -> Manifest:
    """The manifest with its mask columns in the modalities' order.

    Args:
        manifest: The manifest.
        modalities: The branches of the network.
        narrowed: Some channels were chosen: masks of the others are left out.
        log: Is told of these.

    Raises:
        UserError: There is a mask for what is no modality, or none for what is one.
    """
    if manifest.masks in ((), ("",)):
        return manifest
    unused = [name for name in manifest.masks if name not in modalities]
    if narrowed and unused:
        log(f"{', '.join(MASK_PREFIX + name for name in unused)}: not used, no such modality among the chosen channels")
        manifest = _without_masks(manifest, unused)
    for name in manifest.masks:
        if name not in modalities:
            close = suggestion(name, modalities)
            where = f"{manifest.where}, line 1"
            raise UserError(where, f"column {MASK_PREFIX}{name}", f"masks of {', '.join(modalities)}", close)
    missing = [f"{MASK_PREFIX}{name}" for name in modalities if name not in manifest.masks]
    if missing:
        raise UserError(
            f"{manifest.where}, line 1", f"no column {', '.join(missing)}", "a mask for every modality, or one `mask`",
            "add the columns, choose --channels without it, or name the one column `mask`",
        )  # fmt: skip
    return replace(manifest, masks=tuple(modalities))


def assign(
    manifest: Manifest, settings: Settings, incomplete: Literal["refuse", "pool"], log: Callable[[str], None]
) -> Assignment:
    """Rows with a mask become labelled cases, the others the pool.

    Args:
        manifest: With the channels and masks in use.
        settings: Their grouping, and the reference.
        incomplete: What becomes of a row with a mask but without some channel or another mask, and of a row of the
            pool with a part of a modality's channels: refused, or what is usable goes to the pool.
        log: Is told of each such row.

    Raises:
        UserError: There are such rows, and they are to be refused.
    """
    if incomplete == "refuse":
        _refuse_incomplete(manifest, settings)
    assigned: Assignment = []
    for row in manifest.rows:
        lacking = _lacking(row, manifest)
        if row.masks and not lacking:
            assigned.append((row, "Tr"))
            continue
        if row.masks:
            log(f"{row.case}: no {' and no '.join(lacking)}: to the pool, its mask is not used")
        pooled = _whole_modalities(row, settings.modalities, log)
        if pooled.channels:
            assigned.append((pooled, "Un"))
        else:
            log(f"{row.case}: left out, it has no modality with all of its channels")
    return assigned


def assign_test(manifest: Manifest) -> Assignment:
    """All rows become test cases.

    Raises:
        UserError: A row lacks a channel, or has a part of its masks.
    """
    for row in manifest.rows:
        lacking = _lacking(row, manifest)
        if lacking:
            expected = f"every channel ({', '.join(manifest.channels)}) of a test case, and all of its masks or none"
            raise UserError(row.where, f"no {' and no '.join(lacking)}", expected, "add the file, or remove the row")
    return [(row, "Ts") for row in manifest.rows]


def _without_masks(manifest: Manifest, unused: Sequence[str]) -> Manifest:
    rows = (
        replace(row, masks={name: p for name, p in row.masks.items() if name not in unused}) for row in manifest.rows
    )
    return replace(manifest, masks=tuple(name for name in manifest.masks if name not in unused), rows=tuple(rows))


def _lacking(row: ManifestRow, manifest: Manifest) -> list[str]:
    channels = [channel for channel in manifest.channels if channel not in row.channels]
    masks = [f"{MASK_PREFIX}{name}" for name in manifest.masks if row.masks and name not in row.masks]
    return channels + masks


def _whole_modalities(row: ManifestRow, modalities: Modalities, log: Callable[[str], None]) -> ManifestRow:
    """The row for the pool: without masks, and without the channels of modalities that it has in part."""
    kept = dict(row.channels)
    for name, channels, missing in _partial(row, modalities):
        log(f"{row.case}: {', '.join(channels)} left out, {name} lacks {', '.join(missing)}")
        kept = {channel: source for channel, source in kept.items() if channel not in channels}
    return replace(row, channels=kept, masks={})


def _partial(row: ManifestRow, modalities: Modalities) -> list[tuple[str, list[str], list[str]]]:
    """Each modality of which the row has some channels only: its name, those, and the missing ones."""
    found = []
    for name, channels in modalities.items():
        there = [channel for channel in channels if channel in row.channels]
        if there and len(there) < len(channels):
            found.append((name, there, [channel for channel in channels if channel not in there]))
    return found


def _refuse_incomplete(manifest: Manifest, settings: Settings) -> None:
    labelled = [(row, _lacking(row, manifest)) for row in _masked(manifest) if _lacking(row, manifest)]
    if labelled:
        everywhere = [c for c in manifest.channels if all(c in row.channels for row in _masked(manifest))]
        fewer = f"; --channels {' '.join(everywhere)} does without" if everywhere else ""
        if everywhere and settings.reference and settings.reference not in everywhere:
            fewer += f", with another --reference ({' | '.join([*everywhere, 'none'])})"
        raise UserError(
            manifest.where,
            "rows with a mask lack " + some([f"{' and '.join(lacking)} ({_named(row)})" for row, lacking in labelled]),
            "every channel and every mask in a row with a mask",
            f"add the files; --incomplete pool uses the scans of these rows without their masks{fewer}",
        )  # fmt: skip
    partial = {_named(row): _partial(row, settings.modalities) for row in manifest.rows if not row.masks}
    found = [f"{name} without {', '.join(missing)} ({where})" for where, p in partial.items() for name, _, missing in p]
    if found:
        raise UserError(
            manifest.where, some(found), "all channels of a modality, or none",
            "add the files; --incomplete pool leaves these modalities' other channels out; --modality groups otherwise",
        )  # fmt: skip


def _masked(manifest: Manifest) -> list[ManifestRow]:
    return [row for row in manifest.rows if row.masks]


def _named(row: ManifestRow) -> str:
    place = row.where.rpartition(", ")[2]
    return row.case if place == row.case else f"{place}, case {row.case}"
