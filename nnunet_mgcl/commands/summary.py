"""`mgcl summary`: Dice, TSS metrics and a picture of a trained fold."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("summary", help="Dice, TSS metrics and a picture of a trained fold's validation")
    parser.add_argument("-d", required=True, help="dataset name or number")
    parser.add_argument("-p", default="nnUNetPlans", help="plans name (default: %(default)s)")
    parser.add_argument("-tr", default="MGCLTrainer", help="trainer (default: %(default)s)")
    parser.add_argument("-c", required=True, help="configuration, e.g. 2d")
    parser.add_argument("-f", default="0", help="fold (default: %(default)s)")
    parser.add_argument("-o", type=Path, help="the picture (default: validation/overlay.png of the fold)")


def run(args: argparse.Namespace) -> int:
    """Prints the tables and draws the picture."""
    from rich.console import Console
    from rich.table import Table

    from nnunet_mgcl.data.layout import DatasetLayout, FoldLayout
    from nnunet_mgcl.data.results import model_folder
    from nnunet_mgcl.evaluation.runs.fold_summary import draw_fold, summarise_fold
    from nnunet_mgcl.evaluation.tables.format import number
    from nnunet_mgcl.pictures.image_figure import require_format

    if args.o:
        require_format(args.o)
    model = model_folder(args.d, args.tr, args.p, args.c, [args.f])
    layout = DatasetLayout.find(args.d)
    summary = summarise_fold(model, args.f)
    validation = FoldLayout(model / f"fold_{args.f}").validation
    picture = args.o or validation / "overlay.png"
    draw_fold(layout, model, args.f, picture)

    table = Table(title=f"{layout.name}, {args.tr}, {args.p}, {args.c}, fold {args.f}: validation")
    table.add_column("measure")
    table.add_column("value", justify="right")
    for target, dice in summary.dice.items():
        table.add_row(f"Dice {target}", number(dice))
    for name, value in _tss_rows(summary.tss or {}).items():
        table.add_row(f"TSS {name}", value)
    Console().print(table)
    print(f"segmentation: {summary.segmentation}")
    if summary.tss:
        print(f"TSS:          {validation / 'tss.csv'}")
    print(f"picture:      {picture}")
    for warning in summary.warnings:
        print(f"WARNING       {warning}")
    return 0


def _tss_rows(tss: dict[str, Any]) -> dict[str, str]:
    """The checkpoint's head, then what the heads beside it reach."""
    from nnunet_mgcl.evaluation.runs.tss_validation import in_words
    from nnunet_mgcl.evaluation.tables.format import number

    head = {"head": tss["head"]} if "head" in tss else {}
    others = {kind: own["AUROC"] for kind, own in tss.get("heads", {}).items() if kind != tss["head"]}
    return in_words(tss) | head | {f"AUROC of the head {kind}": number(auroc) for kind, auroc in others.items()}
