"""`mgcl phantom`: a synthetic stroke dataset to try everything out on."""

from __future__ import annotations

import argparse
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from nnunet_mgcl.phantom.options import PAPER_MATRIX, PhantomOptions, check_options
from nnunet_mgcl.system.errors import INTERRUPTED, UserError
from nnunet_mgcl.system.numbers import integer
from nnunet_mgcl.system.workers import default_processes, require_processes

if TYPE_CHECKING:
    from nnunet_mgcl.phantom.stroke.lesion_masks import LesionMasks

DESCRIBED, DESCRIBED_STROKES = 5000, 200
"""Patients whose clocks `--describe` draws, and of how many of them the strokes, which take longer."""

NUMBERS = {
    "cases": "labelled training cases",
    "unlabelled": "cases of the unlabelled, unpaired pool",
    "test": "labelled test cases",
    "seed": "equal seeds give equal files",
    "slices": "voxels along z",
    "id": "number of the dataset",
}
SWITCHES = {
    "unregistered": "write every scan on a grid of its own, moved, with a manifest for mgcl convert",
    "preview": "also draw preview.png: an early and a late stroke",
    "overwrite": "replace an older phantom",
    "describe": "write nothing; print what 5000 patients are like",
}


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the subcommand."""
    parser = subparsers.add_parser(
        "phantom",
        help="write a synthetic stroke dataset",
        description="Writes a raw nnU-Net dataset of synthetic strokes with an unlabelled pool and times since onset, "
        "or the same patients' unregistered scans. The MNI152 template and a model of stroke MRI make it: results on "
        "it say nothing about clinical performance.",
    )
    usual = {field.name: field.default for field in fields(PhantomOptions)}
    matrix = f"voxels along x and y ({usual['matrix']}; with --unregistered the paper's, {PAPER_MATRIX})"
    masks = "lesion masks in MNI space whose shapes the strokes take"
    parser.add_argument("-o", dest="output", type=Path, help="parent folder, usually $nnUNet_raw")
    for name, text in NUMBERS.items():
        parser.add_argument(f"--{name}", type=integer, default=usual[name], help=f"{text} (%(default)s)")
    parser.add_argument("--matrix", type=integer, help=matrix)
    parser.add_argument("--name", default=usual["name"], help="name of the dataset (%(default)s)")
    parser.add_argument("--lesion-masks", type=Path, metavar="DIR", help=masks)
    parser.add_argument("-np", type=integer, default=default_processes(), help="processes (default here: %(default)s)")
    for name, text in SWITCHES.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)


def run(args: argparse.Namespace) -> int:
    """Writes the dataset, or describes it."""
    from nnunet_mgcl.phantom.stroke.lesion_masks import find_masks

    if args.matrix is None:
        args.matrix = PAPER_MATRIX if args.unregistered else PhantomOptions.matrix
    options = PhantomOptions(**{field.name: getattr(args, field.name) for field in fields(PhantomOptions)})
    try:
        check_options(options)
        masks = find_masks(options.lesion_masks) if options.lesion_masks else None
        if args.describe:
            _describe(options, masks)
        else:
            _write(args, options, masks)
    except KeyboardInterrupt:
        print("Interrupted: nothing half-written is left")
        return INTERRUPTED
    return 0


def _write(args: argparse.Namespace, options: PhantomOptions, masks: LesionMasks | None) -> None:
    from rich.progress import track

    from nnunet_mgcl.phantom.dataset import DATASET
    from nnunet_mgcl.phantom.unregistered import SCANS
    from nnunet_mgcl.phantom.writing import write_phantom

    require_processes(args.np)
    if args.output is None:
        raise UserError("-o", "not given", "the folder to write into", "add -o $nnUNet_raw, or --describe")
    form = SCANS if args.unregistered else DATASET
    folder = args.output / form.folder(options)
    written = write_phantom(form, args.output, options, masks, overwrite=args.overwrite, processes=args.np)
    with closing(written):  # Ctrl-C anywhere in the loop tidies up before the message
        total = options.cases + options.unlabelled + options.test
        for _ in track(written, description=f"Drawing {folder.name}", total=total):
            pass
    if args.preview:
        from nnunet_mgcl.phantom.preview import write_preview

        write_preview(folder / "preview.png", options, masks)
    print(f"Synthetic, not clinical: {folder}")
    for command in _next_commands(folder, options, args.unregistered):
        print(f"Next: {command}")


def _describe(options: PhantomOptions, masks: LesionMasks | None) -> None:
    from rich.progress import track

    from nnunet_mgcl.phantom.cases import training_cases
    from nnunet_mgcl.phantom.describe import describe, render
    from nnunet_mgcl.phantom.patient import draw_case_clock, draw_case_stroke

    cases = training_cases(replace(options, cases=DESCRIBED))
    clocks = [draw_case_clock(case, options) for case in cases]
    some = list(zip(cases, clocks, strict=True))[:DESCRIBED_STROKES]
    strokes = [draw_case_stroke(c, clock, options, masks) for c, clock in track(some, description="Drawing strokes")]
    print(render(describe(clocks, [s.core_ml for s in strokes], [s.deficit_ml for s in strokes])))


def _next_commands(folder: Path, options: PhantomOptions, unregistered: bool) -> list[str]:
    """What a user types next, for a shell."""
    if not unregistered:
        return [f"nnUNetv2_plan_and_preprocess -d {options.id} -c 2d --verify_dataset_integrity"]
    from nnunet_mgcl.phantom.scanner.acquisition import CHANNELS
    from nnunet_mgcl.phantom.unregistered import MANIFESTS

    groups = " ".join(f"{modality}={','.join(channels)}" for modality, channels in CHANNELS.items())
    choices = f"--id {options.id} --name {options.name} --reference FLAIR --modality {groups}"
    command, test = (f"mgcl convert -i {quote(str(folder / name))} {choices}" for name in MANIFESTS)
    return [command, f"{test} --test"][: 1 + bool(options.test)]
