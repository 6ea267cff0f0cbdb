"""`mgcl evaluate`: a cross-validation as the paper evaluates it, and more."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from nnunet_mgcl.system.numbers import number

if TYPE_CHECKING:
    from nnunet_mgcl.evaluation.runs.run import ValidatedRun


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("evaluate", help="segmentation and TSS metrics of a cross-validation")
    add_validated_model(parser)
    default = "(default: %(default)s)"
    parser.add_argument("--tolerance", type=number, default=2.0, help=f"of the surface Dice, in mm {default}")
    parser.add_argument("--sensitivity", type=number, default=0.9, help=f"wanted one of an operating point {default}")
    what = "predict the validation cases once more, without this modality, and evaluate that"
    parser.add_argument("--missing", nargs="+", action="extend", metavar="MODALITY", help=what)
    parser.add_argument("-device", default="cuda", choices=("cuda", "cpu", "mps"), help=f"with --missing {default}")


def add_validated_model(parser: argparse.ArgumentParser) -> None:
    """Adds what names a trained model and its validated folds, as nnU-Net's commands do."""
    add_model(parser)
    parser.add_argument("-f", nargs="+", help="folds (default: all of the split)")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Adds what names a trained model."""
    parser.add_argument("-d", required=True, help="dataset name or number")
    parser.add_argument("-c", required=True, help="configuration, e.g. 2d")
    parser.add_argument("-tr", default="MGCLTrainer", help="trainer, also a stock one (default: %(default)s)")
    parser.add_argument("-p", default="nnUNetPlans", help="plans name (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Evaluates, writes `evaluation.json`, `evaluation_cases.csv` and the model's calibration and prints the tables."""
    from nnunet_mgcl.data.layout import DatasetLayout
    from nnunet_mgcl.data.results import model_folder
    from nnunet_mgcl.evaluation.runs.current_evaluation import evaluate
    from nnunet_mgcl.evaluation.runs.run import ValidatedRun
    from nnunet_mgcl.system.errors import UserError

    if not 0 <= args.tolerance < float("inf"):
        raise UserError("--tolerance", str(args.tolerance), "a number of millimetres from 0 on", "change it")
    if not 0 < args.sensitivity <= 1:
        raise UserError("--sensitivity", str(args.sensitivity), "a number above 0 and up to 1", "change it")
    model = model_folder(args.d, args.tr, args.p, args.c)
    validated = ValidatedRun.find(DatasetLayout.find(args.d), model, args.f)
    if args.missing:
        validated = _without(validated, args)
    content, path, table = evaluate(validated, args.tolerance, args.sensitivity)
    print_evaluation(content)
    print(f"all numbers: {path}\ncases:       {table}")
    return 0


def _without(validated: ValidatedRun, args: argparse.Namespace) -> ValidatedRun:
    """The same folds, predicted without some modalities."""
    import torch

    from nnunet_mgcl.inference.without import predict_without
    from nnunet_mgcl.system.devices import use_own_cores
    from nnunet_mgcl.system.errors import UserError
    from nnunet_mgcl.system.workers import default_processes

    if validated.is_classifier or validated.is_stock:
        expected = "a model of a trainer of this plugin, which has branches"
        raise UserError("--missing", validated.model.name, expected, "leave --missing out")
    device = torch.device(args.device)
    use_own_cores(device)
    return predict_without(validated, args.missing, device, default_processes(), default_processes())


def print_evaluation(content: dict[str, Any]) -> None:
    """Prints the content of `evaluation.json` as tables, and why something is missing."""
    from rich.console import Console

    from nnunet_mgcl.evaluation.tables.evaluation import reasons, segmentation_table, tss_table

    console = Console()
    if content["segmentation"]:
        console.print(segmentation_table(content))
    if not content["tss"]["reason"]:
        console.print(tss_table(content))
    for line in reasons(content):
        print(line)
