"""`mgcl head`: puts another of the trained TSS heads into a model."""

from __future__ import annotations

import argparse

from nnunet_mgcl.commands.evaluate import add_model


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("head", help="shows the trained TSS heads of a model, or switches to another")
    add_model(parser)
    parser.add_argument("--use", metavar="HEAD", help="the head that all folds shall answer with (default: show them)")


def run(args: argparse.Namespace) -> int:
    """Prints each head's AUROC in every fold; with --use, rewrites the checkpoints."""
    from rich.console import Console

    from nnunet_mgcl.data.results import model_folder
    from nnunet_mgcl.tss.head_switch import switch_model
    from nnunet_mgcl.tss.head_table import head_table

    model = model_folder(args.d, args.tr, args.p, args.c)
    if args.use:
        folds = switch_model(model, args.c, args.use)
        print(f"{model}: {', '.join(folds)} now answer with {args.use}; the other heads stay in phases/tss")
        print("A calibration of the earlier head is removed: mgcl evaluate fits one for this head")
    Console().print(head_table(model))
    return 0
