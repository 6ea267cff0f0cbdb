"""`mgcl mismatch`: DWI-FLAIR and perfusion-diffusion mismatch of reference masks or of predictions."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.numbers import integer, number


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "mismatch",
        help="DWI-FLAIR and perfusion-diffusion mismatch, the clinical baseline",
        description="Measures the FLAIR ratio of DWI lesions, and core against hypoperfusion, of a labelled dataset "
        "(-d) or of any images and segmentations (-i, -s); docs/mismatch.md defines every number.",
    )
    add = parser.add_argument
    named: dict[str, Any] = {"nargs": "+", "action": "extend", "default": [], "metavar": "ROLE=NAME"}
    add("-d", help="raw dataset, by name or number: its training images, masks and tss.csv")
    add("-i", dest="images", type=Path, help="images, instead of the dataset's")
    add("-s", dest="segmentations", type=Path, help="label maps such as mgcl predict's, instead of the dataset's")
    add("-o", dest="output", type=Path, required=True, help="folder for the tables")
    add("--tss", type=Path, help="table of known times, instead of the dataset's tss.csv")
    add("--flair-positive", type=number, default=1.15, metavar="RATIO", help="visible from here on (default: 1.15)")
    add("--min-lesion-ml", type=number, default=0.5, metavar="ML", help="leave smaller DWI lesions out (default: 0.5)")
    add("--adc-core", action="store_true", help="core: the DWI mask where ADC < 620 x 10^-6 mm^2/s")
    add("--tmax", action="store_true", help="hypoperfusion: Tmax > 6 s, though there is a PWI mask")
    add("--channels", **named, help="what is ADC, FLAIR or Tmax")
    add("--masks", **named, help="what is the DWI, FLAIR, PWI mask")
    add("-np", dest="processes", type=integer, help="processes (as many as nnU-Net would take)")


def run(args: argparse.Namespace) -> int:
    """Measures, writes the tables and prints the baseline."""
    from rich.console import Console
    from rich.progress import track

    from nnunet_mgcl.mismatch.case_mismatch import MismatchOptions, measure_cases
    from nnunet_mgcl.mismatch.roles import find_roles
    from nnunet_mgcl.mismatch.tables import baseline_reasons, baseline_table, in_words, write_tables
    from nnunet_mgcl.plan.dataset_json import read_dataset_json
    from nnunet_mgcl.system.workers import default_processes, require_processes

    require_processes(args.processes)
    for option, value in (("--flair-positive", args.flair_positive), ("--min-lesion-ml", args.min_lesion_ml)):
        if not 0 < value < float("inf"):
            raise UserError(option, str(value), "a number above 0", "choose another")
    options = MismatchOptions(args.flair_positive, args.min_lesion_ml, args.adc_core, args.tmax)
    raw = _raw_folder(args)
    images, segmentations = args.images or raw / "imagesTr", args.segmentations or raw / "labelsTr"
    if not images.is_dir():
        raise UserError(images, "no such folder", "a folder of images", "check -d, -i")
    dataset_json = read_dataset_json(raw / "dataset.json")
    ending = dataset_json["file_ending"]
    roles = find_roles(dataset_json, _pairs(args.channels, "--channels"), _pairs(args.masks, "--masks"))
    files = sorted(segmentations.glob(f"*{ending}"))
    if not files:
        raise UserError(segmentations, "no segmentation", f"files CASE{ending}", "check -d, -s")
    labelled = (raw / "labelsTr").glob(f"*{ending}")
    positive = _known_classes(args, raw, {path.name.removesuffix(ending) for path in (*files, *labelled)})

    print(in_words(options, roles))
    measuring = measure_cases(files, images, ending, roles, options, args.processes or default_processes())
    measured = list(track(measuring, description="Measuring", total=len(files)))
    summary = write_tables(args.output, measured, roles, options, positive)
    if summary:
        Console().print(baseline_table(summary, options.flair_positive))
        for line in baseline_reasons(summary):
            print(line)
    else:
        print("No baseline: " + ("no case with a known time has an answer" if positive else "no time is known"))
    print(f"cases:   {args.output / 'mismatch.csv'}\nlesions: {args.output / 'mismatch_lesions.csv'}")
    return 0


def _raw_folder(args: argparse.Namespace) -> Path:
    """The raw dataset's folder; with -i and -s alone the folder of the segmentations, where dataset.json lies too."""
    from nnunet_mgcl.data.raw_dataset import raw_folder

    if args.d is None:
        if args.images is None or args.segmentations is None:
            raise UserError("mgcl mismatch", "no data", "-d, or both -i and -s", "add them")
        return args.segmentations
    return raw_folder(args.d, "export nnUNet_raw=<folder>, or use -i and -s")


def _known_classes(args: argparse.Namespace, raw: Path, cases: set[str]) -> dict[str, bool]:
    from nnunet_mgcl.data.tss_table import read_tss_table
    from nnunet_mgcl.system.files import is_there

    path = args.tss or raw / "tss.csv"
    if args.tss is None and (args.d is None or not is_there(path)):  # beside predictions, tss.csv is the prediction
        return {}
    table = read_tss_table(path, cases)
    return {case: bool(table.positive(case)) for case in table.cases}


def _pairs(words: list[str], option: str) -> dict[str, str]:

    if wrong := [word for word in words if "=" not in word]:
        raise UserError(option, wrong[0], "ROLE=NAME", "put a = between them")
    return dict(word.split("=", 1) for word in words)
