"""`mgcl summary`: the numbers of one fold as `mgcl evaluate -f` has them, a picture, and what training warned of."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunet_mgcl.commands.evaluate import add_model, print_evaluation


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("summary", help="the metrics of one fold's validation, with a picture of its cases")
    add_model(parser)
    parser.add_argument("-f", default="0", help="fold (default: %(default)s)")
    parser.add_argument("-o", type=Path, help="the picture (default: validation/overlay.png of the fold)")


def run(args: argparse.Namespace) -> int:
    """Evaluates the fold where that is not done yet, prints the tables and draws the picture."""
    from nnunet_mgcl.data.layout import DatasetLayout, FoldLayout
    from nnunet_mgcl.data.results import model_folder
    from nnunet_mgcl.engine.training_warnings import read_warnings
    from nnunet_mgcl.evaluation.runs.current_evaluation import current_evaluation
    from nnunet_mgcl.evaluation.runs.run import OVERLAY, ValidatedRun
    from nnunet_mgcl.pictures.image_figure import require_format
    from nnunet_mgcl.report.cross_validation.overlays import draw_overlays

    if args.o:
        require_format(args.o)
    model = model_folder(args.d, args.tr, args.p, args.c, [args.f])
    validated = ValidatedRun.find(DatasetLayout.find(args.d), model, [args.f])
    fold = FoldLayout(model / f"fold_{args.f}")
    picture, warnings = args.o or fold.validation / OVERLAY, read_warnings(fold.warnings)
    content = current_evaluation(validated)
    print_evaluation(content)
    drawn = draw_overlays(validated, content, picture)
    print(f"picture:     {picture if drawn else 'none, no case has a Dice'}")
    for warning in warnings:
        print(f"WARNING      {warning}")
    return 0
