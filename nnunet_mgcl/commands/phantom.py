"""`mgcl phantom`: a synthetic stroke dataset to try everything out on."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the subcommand."""
    parser = subparsers.add_parser(
        "phantom",
        help="write a synthetic stroke dataset",
        description="Writes a raw nnU-Net dataset of synthetic strokes with an unlabelled pool and times "
        "since onset. It is drawn from ellipses and noise: results on it say nothing about clinical "
        "performance.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("-o", dest="output", type=Path, required=True, help="parent folder, usually $nnUNet_raw")
    parser.add_argument("--cases", type=int, default=24, help="labelled training cases")
    parser.add_argument("--unlabelled", type=int, default=40, help="cases of the unlabelled, unpaired pool")
    parser.add_argument("--test", type=int, default=4, help="labelled test cases")
    parser.add_argument("--seed", type=int, default=0, help="equal seeds give equal files")
    parser.add_argument("--size", type=int, nargs=3, default=(64, 64, 12), metavar=("X", "Y", "Z"), help="voxels")
    parser.add_argument("--id", type=int, default=501, help="number of the dataset")
    parser.add_argument("--name", default="Phantom", help="name of the dataset")
    parser.add_argument("--preview", action="store_true", help="also draw preview.png")
    parser.add_argument("--overwrite", action="store_true", help="replace an older phantom")


def run(args: argparse.Namespace) -> int:
    """Writes the dataset."""
    from rich.progress import track

    from nnunet_mgcl.phantom.dataset import PhantomOptions, write_phantom
    from nnunet_mgcl.phantom.preview import write_preview

    options = PhantomOptions(
        cases=args.cases,
        unlabelled=args.unlabelled,
        test=args.test,
        seed=args.seed,
        size=tuple(args.size),
        id=args.id,
        name=args.name,
    )
    written = write_phantom(args.output, options, overwrite=args.overwrite)
    total = options.cases + options.unlabelled + options.test
    for _ in track(written, description=f"Drawing {options.folder}", total=total):
        pass
    folder = args.output / options.folder
    if args.preview:
        write_preview(folder / "preview.png", options)
    print(f"Synthetic dataset, not clinical: {folder}")
    return 0
