"""`mgcl phantom`: a synthetic stroke dataset to try everything out on."""

from __future__ import annotations

import argparse
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from nnunet_mgcl.system.errors import INTERRUPTED, UserError
from nnunet_mgcl.system.numbers import integer
from nnunet_mgcl.system.workers import default_processes

if TYPE_CHECKING:
    from nnunet_mgcl.phantom.options import PhantomOptions
    from nnunet_mgcl.phantom.stroke.lesion_masks import LesionMasks

DESCRIBED, DESCRIBED_STROKES = 5000, 200
"""Patients whose clocks `--describe` draws, and of how many of them the strokes, which take longer."""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the subcommand."""
    parser = subparsers.add_parser(
        "phantom",
        help="write a synthetic stroke dataset",
        description="Writes a raw nnU-Net dataset of synthetic strokes with an unlabelled pool and times since onset, "
        "or the same patients' unregistered scans. The MNI152 template and a model of stroke MRI make it: results on "
        "it say nothing about clinical performance.",
    )
    parser.add_argument("-o", dest="output", type=Path, help="parent folder, usually $nnUNet_raw")
    parser.add_argument("--cases", type=integer, default=24, help="labelled training cases (24)")
    parser.add_argument("--unlabelled", type=integer, default=40, help="cases of the unlabelled, unpaired pool (40)")
    parser.add_argument("--test", type=integer, default=4, help="labelled test cases (4)")
    parser.add_argument("--seed", type=integer, default=0, help="equal seeds give equal files (0)")
    parser.add_argument(
        "--matrix", type=integer, help="voxels along x and y (128; with --unregistered the paper's, 512)"
    )
    parser.add_argument("--slices", type=integer, default=18, help="voxels along z (18)")
    parser.add_argument(
        "--lesion-masks", type=Path, metavar="DIR", help="lesion masks in MNI space whose shapes the strokes take"
    )
    parser.add_argument(
        "--unregistered",
        action="store_true",
        help="write every scan on a grid of its own, moved, with a manifest for mgcl convert",
    )
    parser.add_argument("--id", type=integer, default=501, help="number of the dataset (501)")
    parser.add_argument("--name", default="Phantom", help="name of the dataset (Phantom)")
    parser.add_argument("-np", type=integer, default=default_processes(), help="processes (default here: %(default)s)")
    parser.add_argument("--preview", action="store_true", help="also draw preview.png: an early and a late stroke")
    parser.add_argument("--overwrite", action="store_true", help="replace an older phantom")
    parser.add_argument("--describe", action="store_true", help="write nothing; print what 5000 patients are like")


def run(args: argparse.Namespace) -> int:
    """Writes the dataset, or describes it."""
    try:
        return _run(args)
    except KeyboardInterrupt:
        print("Interrupted: nothing half-written is left")
        return INTERRUPTED


def _run(args: argparse.Namespace) -> int:
    from nnunet_mgcl.phantom.options import check_options
    from nnunet_mgcl.phantom.stroke.lesion_masks import find_masks

    options = _options(args)
    check_options(options)
    masks = find_masks(options.lesion_masks) if options.lesion_masks else None
    if args.describe:
        return _describe(options, masks)
    if args.np < 1:
        raise UserError("-np", str(args.np), "at least 1", "choose another number")
    if args.output is None:
        raise UserError("-o", "not given", "the folder to write into", "add -o $nnUNet_raw, or --describe")
    folder = _write(args, options, masks)
    if args.preview:
        from nnunet_mgcl.phantom.preview import write_preview

        write_preview(folder / "preview.png", options, masks)
    print(f"Synthetic, not clinical: {folder}")
    for command in _next_commands(folder, options, args.unregistered):
        print(f"Next: {command}")
    return 0


def _options(args: argparse.Namespace) -> PhantomOptions:
    from nnunet_mgcl.phantom.options import PAPER_MATRIX, PhantomOptions

    usual = PAPER_MATRIX if args.unregistered else PhantomOptions.matrix
    return PhantomOptions(
        cases=args.cases,
        unlabelled=args.unlabelled,
        test=args.test,
        seed=args.seed,
        matrix=usual if args.matrix is None else args.matrix,
        slices=args.slices,
        lesion_masks=args.lesion_masks,
        id=args.id,
        name=args.name,
    )


def _write(args: argparse.Namespace, options: PhantomOptions, masks: LesionMasks | None) -> Path:
    from rich.progress import track

    from nnunet_mgcl.phantom.dataset import write_phantom
    from nnunet_mgcl.phantom.unregistered import scans_folder, write_unregistered

    write, name = (write_unregistered, scans_folder(options)) if args.unregistered else (write_phantom, options.folder)
    written = write(args.output, options, masks, overwrite=args.overwrite, processes=args.np)
    total = options.cases + options.unlabelled + options.test
    with closing(written):  # Ctrl-C anywhere in the loop tidies up before the message
        for _ in track(written, description=f"Drawing {name}", total=total):
            pass
    return args.output / name


def _describe(options: PhantomOptions, masks: LesionMasks | None) -> int:
    from rich.progress import track

    from nnunet_mgcl.phantom.cases import training_cases
    from nnunet_mgcl.phantom.describe import describe, render
    from nnunet_mgcl.phantom.patient import draw_case_clock, draw_case_stroke

    cases = training_cases(replace(options, cases=DESCRIBED))
    clocks = [draw_case_clock(case, options) for case in cases]
    some = list(zip(cases, clocks, strict=True))[:DESCRIBED_STROKES]
    strokes = [draw_case_stroke(c, clock, options, masks) for c, clock in track(some, description="Drawing strokes")]
    print(render(describe(clocks, [s.core_ml for s in strokes], [s.deficit_ml for s in strokes])))
    return 0


def _next_commands(folder: Path, options: PhantomOptions, unregistered: bool) -> list[str]:
    """What a user types next, for a shell."""
    if not unregistered:
        return [f"nnUNetv2_plan_and_preprocess -d {options.id} -c 2d --verify_dataset_integrity"]
    from nnunet_mgcl.phantom.scanner.acquisition import CHANNELS

    groups = " ".join(f"{modality}={','.join(channels)}" for modality, channels in CHANNELS.items())
    choices = f"--id {options.id} --name {options.name} --reference FLAIR --modality {groups}"
    command = f"mgcl convert -i {quote(str(folder / 'manifest.csv'))} {choices}"
    test = f"mgcl convert -i {quote(str(folder / 'manifest_test.csv'))} {choices} --test"
    return [command, test] if options.test else [command]
