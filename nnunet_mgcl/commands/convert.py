"""`mgcl convert`: raw scans to a raw nnU-Net dataset."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_mgcl.system.errors import INTERRUPTED, UserError
from nnunet_mgcl.system.numbers import integer, number
from nnunet_mgcl.system.workers import default_processes

if TYPE_CHECKING:
    from nnunet_mgcl.convert.manifest.table import Manifest
    from nnunet_mgcl.convert.run import Outcome
    from nnunet_mgcl.convert.settings import Options


MANY: dict[str, Any] = {"nargs": "+", "action": "extend", "default": []}
"""An option with several words, which may be given several times."""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the subcommand."""
    parser = subparsers.add_parser(
        "convert",
        help="register raw scans and write them as an nnU-Net dataset",
        description="Reads NIfTI, MHA, NRRD and DICOM, registers the channels of a patient, and writes a raw nnU-Net "
        "dataset: rows with a mask as training cases, the others as the unlabelled pool. Running it again converts "
        "what has changed. docs/convert.md describes the manifest.",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("-i", dest="manifest", type=Path, metavar="CSV", help="manifest: one row a patient")
    source.add_argument("--bids", type=Path, metavar="DIR", help="or a BIDS folder")
    source.add_argument("--init", type=Path, metavar="DIR", help="write a draft of a manifest from a folder of scans")
    parser.add_argument(
        "-o", dest="output", type=Path, help="parent folder of the dataset (default: $nnUNet_raw); the draft of --init"
    )
    parser.add_argument("--id", type=integer, help="number of the dataset")
    parser.add_argument("--name", help="name of the dataset (with --test: not needed)")
    _add_choices(parser)
    _add_scans(parser)
    _add_checks(parser)
    parser.add_argument("--test", action="store_true", help="the rows are test cases of a dataset converted before")
    parser.add_argument("-np", type=integer, default=default_processes(), help="processes (default here: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Converts the dataset, or writes a draft of a manifest."""
    if args.init:
        from nnunet_mgcl.convert.manifest.draft import write_draft

        write_draft(args.init, args.output or Path("manifest.csv"), print)
        return 0
    from rich.progress import track

    from nnunet_mgcl.convert.dataset import convert_dataset

    options = _options(args)
    try:
        outcome = convert_dataset(
            _manifest(args), options, print, lambda results, total: track(results, "Converting", total=total)
        )
    except KeyboardInterrupt:
        print("Interrupted: the same command goes on from here")
        return INTERRUPTED
    _report(outcome, options)
    return 0 if outcome.complete else 1


def _add_choices(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what becomes of the scans").add_argument
    add("--reference", metavar="CHANNEL", help="channel that the others are registered to; none: they are registered")
    add("--channels", nargs="+", default=[], help="use these only, in this order (default: all)")
    add(
        "--as-named", **MANY, metavar="CHANNEL",
        help="names that are right, though they look like misspelt kinds (DTI, MTR)",
    )  # fmt: skip
    add(
        "--modality", **MANY, metavar="NAME=CHANNEL,...",
        help="channels of each branch of the network (default: one a channel, ADC with DWI)",
    )  # fmt: skip
    add(
        "--incomplete", choices=("refuse", "pool", "missing"), default="refuse",
        help="a row with a mask but without some channel: stop, use its scans without the mask, or keep it labelled "
        "without the modalities that it lacks (default: refuse)",
    )  # fmt: skip
    add("--spacing", type=number, nargs=3, metavar=("X", "Y", "Z"), help="mm (default: as scanned)")
    add("--interpolation", choices=("linear", "bspline"), default="linear", help="default: %(default)s")
    add("--engine", choices=("sitk", "elastix"), default="sitk", help="what registers (default: %(default)s)")


def _add_scans(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what the scans are").add_argument
    add("--dwi-volume", type=_volume, metavar="last|N", help="which volume of a 4D DWI, from 1")
    add(
        "--adc-unit", choices=("auto", "mm2/s", "1e-3", "1e-6"), default="auto",
        help="unit of all ADC maps (1e-3: 10^-3 mm^2/s); auto: told from the values of each (default: %(default)s); "
        "a column adc_unit of the manifest tells that of a case",
    )  # fmt: skip
    add(
        "--labels", nargs="+", default=["lesion=1"], metavar="NAME=VALUE",
        help="labels and their values in the masks; any: every value above 0 (default: lesion=1)",
    )  # fmt: skip
    add("--suffix", **MANY, metavar="CHANNEL=SUFFIX", help="with --bids: suffixes of the channels")


def _add_checks(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("checks of the registration").add_argument
    add("--max-shift", type=number, default=25, metavar="MM", help="default: %(default)s")
    add("--max-rotation", type=number, default=20, metavar="DEGREES", help="default: %(default)s")
    add("--accept", **MANY, metavar="CASE", help="looked at and found good")


def _volume(text: str) -> str | int:
    if text.isascii() and text.isdecimal() and int(text) > 0:
        return int(text)
    if text != "last":
        raise argparse.ArgumentTypeError(f"{text!r} is neither last nor a number from 1")
    return text


def _manifest(args: argparse.Namespace) -> Manifest:
    if args.bids:
        from nnunet_mgcl.convert.manifest.bids import read_bids

        return read_bids(args.bids, _pairs("--suffix", args.suffix), print)
    if args.suffix:
        raise UserError("--suffix", "without --bids", "a BIDS folder", "remove it: a manifest names the channels")
    from nnunet_mgcl.convert.manifest.table import read_manifest

    return read_manifest(args.manifest, print)


def _options(args: argparse.Namespace) -> Options:
    from nnunet_mgcl.convert.settings import Options, Settings, check_numbers
    from nnunet_mgcl.data.dataset_name import find_name

    parent = args.output or os.environ.get("nnUNet_raw")
    if not parent:
        raise UserError("-o", "not given, and nnUNet_raw is not set", "a folder for the dataset", "give -o FOLDER")
    parent = Path(parent)
    if args.test and args.id is not None and args.name is None:
        args.name = find_name(parent, args.id)
    _check(args)
    settings = Settings(
        channels=tuple(args.channels),
        modalities={name: tuple(text.split(",")) for name, text in _pairs("--modality", args.modality).items()},
        labels=_labels(args.labels), reference=args.reference, engine=args.engine,
        spacing=tuple(args.spacing) if args.spacing else None, interpolation=args.interpolation,
        dwi_volume=args.dwi_volume, adc_unit=args.adc_unit,
        max_shift=args.max_shift, max_rotation=args.max_rotation,
    )  # fmt: skip
    check_numbers(settings, args.np)
    return Options(
        parent, args.id, args.name, settings, incomplete=args.incomplete, accept=args.accept, test=args.test,
        processes=args.np, as_named=args.as_named,
    )  # fmt: skip


def _check(args: argparse.Namespace) -> None:
    for option, value in (("id", args.id), ("name", args.name)):
        if value is None:
            raise UserError(f"--{option}", "not given", f"the {option} of the dataset", "as in --id 501 --name Stroke")


def _pairs(option: str, words: Sequence[str]) -> dict[str, str]:
    """`A=x B=y` as a dict."""
    pairs: dict[str, str] = {}
    for word in words:
        name, _, value = word.partition("=")
        if not (name and value) or name in pairs:
            raise UserError(option, repr(word), "NAME=VALUE, each name once", "mend it")
        pairs[name] = value
    return pairs


def _labels(words: Sequence[str]) -> dict[str, int | str]:
    pairs = _pairs("--labels", words)
    try:
        return {name: value if value == "any" else integer(value) for name, value in pairs.items()}
    except ValueError:
        expected = "whole numbers from 1 to 65535, or any"
        raise UserError("--labels", " ".join(words), expected, "mend them") from None


def _report(outcome: Outcome, options: Options) -> None:
    """What was done, and by name what was not."""
    destinations: list[str] = [record.destination for record in outcome.records.values() if not record.held_back]
    counts = {"labelled": "Tr", "in the pool": "Un", "test": "Ts"}
    there = ", ".join(f"{n} {what}" for what, code in counts.items() if (n := destinations.count(code)))
    unchanged = len(outcome.records) - len(outcome.converted)
    done = f"{len(outcome.converted)} converted, {unchanged} unchanged, {len(outcome.removed)} removed"
    print(f"{options.folder}: {there or 'no case'} ({done})")
    page = options.folder / "mgcl_convert" / "index.html"
    print(f"Look at every case: {page}" if page.is_file() else "Nothing is left of the dataset: it has no case")
    for case, error in sorted(outcome.failures.items()):
        print(f"\nNot converted: {case}{error}")
    for record in outcome.held_back:
        print(f"\nHeld back: {record.case}: {'; '.join(record.all_doubts)}")
    if outcome.held_back:
        names = " ".join(record.case for record in outcome.held_back)
        print(f"\nLook at their pictures in {page}; what is good nevertheless: --accept {names}")
    if outcome.complete and "Tr" in destinations:
        raw = os.environ.get("nnUNet_raw")
        elsewhere = not raw or Path(raw).resolve() != options.parent.resolve()
        place = f"nnUNet_raw={shlex.quote(str(options.parent.resolve()))} " if elsewhere else ""
        print(f"Next: {place}nnUNetv2_plan_and_preprocess -d {options.id} --verify_dataset_integrity")
