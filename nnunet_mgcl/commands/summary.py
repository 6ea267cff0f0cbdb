"""`mgcl summary`: the numbers of one fold as `mgcl evaluate -f` has them, a picture, and what training warned of."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnunet_mgcl.evaluation.runs.run import ValidatedRun


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("summary", help="the metrics of one fold's validation, with a picture of its cases")
    parser.add_argument("-d", required=True, help="dataset name or number")
    parser.add_argument("-p", default="nnUNetPlans", help="plans name (default: %(default)s)")
    parser.add_argument("-tr", default="MGCLTrainer", help="trainer (default: %(default)s)")
    parser.add_argument("-c", required=True, help="configuration, e.g. 2d")
    parser.add_argument("-f", default="0", help="fold (default: %(default)s)")
    parser.add_argument("-o", type=Path, help="the picture (default: validation/overlay.png of the fold)")


def run(args: argparse.Namespace) -> int:
    """Evaluates the fold where that is not done yet, prints the tables and draws the picture."""
    from nnunet_mgcl.commands.evaluate import print_evaluation
    from nnunet_mgcl.commands.predict import model_folder
    from nnunet_mgcl.data.layout import DatasetLayout, FoldLayout
    from nnunet_mgcl.engine.training_warnings import read_warnings
    from nnunet_mgcl.evaluation.runs.current_evaluation import current_evaluation
    from nnunet_mgcl.evaluation.runs.run import ValidatedRun
    from nnunet_mgcl.pictures.image_figure import require_format

    if args.o:
        require_format(args.o)
    model = model_folder(args.d, args.tr, args.p, args.c, [args.f])
    validated = ValidatedRun.find(DatasetLayout.find(args.d), model, [args.f])
    warnings = read_warnings(FoldLayout(model / f"fold_{args.f}").warnings)
    content = current_evaluation(validated)
    print_evaluation(content)
    print(f"picture:     {_draw(validated, content, args.o)}")
    for warning in warnings:
        print(f"WARNING      {warning}")
    return 0


def _draw(run: ValidatedRun, content: dict[str, Any], path: Path | None) -> Path | str:
    """Draws the best, the median and the worst case; says where, or why not."""
    from nnunet_mgcl.evaluation.runs.run import OVERLAY
    from nnunet_mgcl.pictures.overlay import draw_overlay
    from nnunet_mgcl.report.cross_validation.overlays import case_panels, chosen_cases, ranked_cases

    ranked = ranked_cases(content["cases"])
    if not ranked:
        return "none, no case has a Dice"
    (fold,) = run.folds
    path = path or run.validation(fold) / OVERLAY
    panels = [case_panels(run, name, mean, case) for name, (mean, case) in chosen_cases(ranked).items()]
    draw_overlay(path, panels, f"{run.layout.name}, fold {fold}: validation cases")
    return path
