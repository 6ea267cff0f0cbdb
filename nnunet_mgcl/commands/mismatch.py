"""`mgcl mismatch`: DWI-FLAIR and perfusion-diffusion mismatch of reference masks or of predictions."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_mgcl.system.numbers import integer, number

if TYPE_CHECKING:
    from nnunet_mgcl.mismatch.case_mismatch import MismatchOptions
    from nnunet_mgcl.mismatch.roles import Roles


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "mismatch",
        help="DWI-FLAIR and perfusion-diffusion mismatch, the clinical baseline",
        description="Measures the FLAIR ratio of DWI lesions, and core against hypoperfusion, of a labelled dataset "
        "(-d) or of any images and segmentations (-i, -s); docs/mismatch.md defines every number.",
    )
    parser.add_argument("-d", help="raw dataset, by name or number: its training images, masks and tss.csv")
    parser.add_argument("-i", dest="images", type=Path, help="images, instead of the dataset's")
    parser.add_argument(
        "-s", dest="segmentations", type=Path, help="label maps such as mgcl predict's, instead of the dataset's"
    )
    parser.add_argument("-o", dest="output", type=Path, required=True, help="folder for the tables")
    parser.add_argument("--tss", type=Path, help="table of known times, instead of the dataset's tss.csv")
    parser.add_argument(
        "--flair-positive", type=number, default=1.15, metavar="RATIO", help="visible from here on (default: 1.15)"
    )
    parser.add_argument(
        "--min-lesion-ml", type=number, default=0.5, metavar="ML", help="leave smaller DWI lesions out (default: 0.5)"
    )
    parser.add_argument("--adc-core", action="store_true", help="core: the DWI mask where ADC < 620 x 10^-6 mm^2/s")
    parser.add_argument("--tmax", action="store_true", help="hypoperfusion: Tmax > 6 s, though there is a PWI mask")
    parser.add_argument(
        "--channels", nargs="+", action="extend", default=[], metavar="ROLE=NAME", help="what is ADC, FLAIR or Tmax"
    )
    parser.add_argument(
        "--masks", nargs="+", action="extend", default=[], metavar="ROLE=NAME", help="what is the DWI, FLAIR, PWI mask"
    )
    parser.add_argument("-np", dest="processes", type=integer, help="processes (as many as nnU-Net would take)")


def run(args: argparse.Namespace) -> int:
    """Measures, writes the tables and prints the baseline."""
    from rich.progress import track

    from nnunet_mgcl.mismatch.roles import find_roles
    from nnunet_mgcl.mismatch.tables import find_cases, measure_cases, write_tables
    from nnunet_mgcl.plan.dataset_json import read_dataset_json
    from nnunet_mgcl.system.errors import UserError
    from nnunet_mgcl.system.workers import default_processes, require_processes

    require_processes(args.processes)
    raw = _raw_folder(args)
    images, segmentations = args.images or raw / "imagesTr", args.segmentations or raw / "labelsTr"
    if not images.is_dir():
        raise UserError(images, "no such folder", "a folder of images", "check -d, -i")
    dataset_json = read_dataset_json(raw / "dataset.json")
    ending = dataset_json["file_ending"]
    roles = find_roles(dataset_json, _pairs(args.channels, "--channels"), _pairs(args.masks, "--masks"))
    options = _options(args)
    cases = find_cases(segmentations, ending)
    positive = _known_classes(args, raw, {*cases, *_labelled(raw, ending)})

    print(_what(roles, options))
    processes = args.processes or default_processes()
    measured = measure_cases(cases, images, segmentations, ending, roles, options, processes)
    found = list(track(measured, description="Measuring", total=len(cases)))
    summary = write_tables(args.output, found, roles, options, positive)
    _print_baselines(summary, options.flair_positive, known=bool(positive))
    print(f"cases:   {args.output / 'mismatch.csv'}")
    print(f"lesions: {args.output / 'mismatch_lesions.csv'}")
    return 0


def _raw_folder(args: argparse.Namespace) -> Path:
    """The raw dataset's folder; with -i and -s alone the folder of the segmentations, where dataset.json lies too."""
    from nnunetv2.paths import nnUNet_raw

    from nnunet_mgcl.data.layout import dataset_name
    from nnunet_mgcl.system.errors import UserError

    if args.d is None:
        if args.images is None or args.segmentations is None:
            raise UserError("mgcl mismatch", "no data", "-d, or both -i and -s", "add them")
        return args.segmentations
    if not nnUNet_raw.is_set():
        raise UserError("nnUNet_raw", "not set", "a folder", "export nnUNet_raw=<folder>, or use -i and -s")
    return Path(nnUNet_raw.require()) / dataset_name(args.d)


def _labelled(raw: Path, ending: str) -> list[str]:
    return [path.name.removesuffix(ending) for path in (raw / "labelsTr").glob(f"*{ending}")]


def _known_classes(args: argparse.Namespace, raw: Path, cases: set[str]) -> dict[str, bool]:
    from nnunet_mgcl.data.tss_table import read_tss_table
    from nnunet_mgcl.system.files import is_there

    own = raw / "tss.csv"
    if args.tss is None and (args.d is None or not is_there(own)):  # beside predictions, tss.csv is the prediction
        return {}
    table = read_tss_table(args.tss or own, cases)
    return {case: bool(table.positive(case)) for case in table.cases}


def _pairs(words: list[str], option: str) -> dict[str, str]:
    from nnunet_mgcl.system.errors import UserError

    if wrong := [word for word in words if "=" not in word]:
        raise UserError(option, wrong[0], "ROLE=NAME", "put a = between them")
    return dict(word.split("=", 1) for word in words)


def _options(args: argparse.Namespace) -> MismatchOptions:
    from nnunet_mgcl.mismatch.case_mismatch import MismatchOptions
    from nnunet_mgcl.system.errors import UserError

    for option, value in (("--flair-positive", args.flair_positive), ("--min-lesion-ml", args.min_lesion_ml)):
        if not 0 < value < float("inf"):
            raise UserError(option, str(value), "a number above 0", "choose another")
    return MismatchOptions(args.flair_positive, args.min_lesion_ml, args.adc_core, args.tmax)


def _what(roles: Roles, options: MismatchOptions) -> str:
    """What is measured, in one line."""
    from nnunet_mgcl.mismatch.perfusion_rules import CORE_ADC, TMAX_SECONDS

    channels = ", ".join(f"{role} (channel {number})" for role, number in roles.channels.items()) or "none"
    masks = ", ".join(f"{role} (labels {labels})" for role, labels in roles.masks.items()) or "none"
    core = f"DWI mask with ADC < {CORE_ADC:g}" if options.adc_core else "DWI mask"
    hypoperfusion = "PWI mask"
    if options.tmax or "PWI" not in roles.masks:
        hypoperfusion = f"Tmax > {TMAX_SECONDS:g} s" if "Tmax" in roles.channels else "none (no Tmax channel)"
    if "DWI" not in roles.masks or (options.adc_core and "ADC" not in roles.channels):
        core = f"none (no {'ADC channel' if 'DWI' in roles.masks else 'DWI mask'})"
    return f"channels: {channels}; masks: {masks}; core: {core}; hypoperfusion: {hypoperfusion}"


def _print_baselines(summary: dict[str, dict[str, Any]], threshold: float, *, known: bool) -> None:
    from rich.console import Console

    from nnunet_mgcl.evaluation.tables.format import number, plain_table
    from nnunet_mgcl.mismatch.baseline import RATIO_RULE
    from nnunet_mgcl.mismatch.case_mismatch import REASON
    from nnunet_mgcl.system.errors import some

    if not summary:
        print("No baseline: " + ("no case with a known time has an answer" if known else "no time is known"))
        return
    title, measures = '"DWI lesion without FLAIR lesion: TSS < 4.5 h"', ("ACC", "SEN", "SPE", "AUROC")
    table = plain_table(title, ("rule", "cases", *measures), names=1)
    for rule, metrics in summary.items():
        name = f"{rule} below {threshold:g}" if rule == RATIO_RULE else f"{rule} empty"
        table.add_row(name, str(metrics["cases"]), *(number(metrics[measure]) for measure in measures))
    Console().print(table)
    for rule, metrics in summary.items():
        if metrics["auroc_reason"]:
            print(f"{rule}: what is undefined has {metrics['auroc_reason']}")
        if metrics["left_out"]:
            print(f"{rule}: left out without an answer: {some(metrics['left_out'])} (see {REASON})")
