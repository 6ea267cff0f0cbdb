"""`mgcl compare`: two or more evaluated models, case by case."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunet_mgcl.system.numbers import integer


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("compare", help="tests whether evaluated models differ on the same cases")
    help_of_models = "results folders; with -d their names, <trainer>__<plans>__<configuration>"
    parser.add_argument("models", nargs="+", metavar="MODEL", help=help_of_models)
    parser.add_argument("-d", help="dataset name or number")
    parser.add_argument("-f", nargs="+", type=integer, help="the folds that were evaluated (default: all of the split)")
    parser.add_argument("-o", type=Path, help="the JSON file (default: comparison.json beside the first folder)")


def run(args: argparse.Namespace) -> int:
    """Compares the first model with each other one, writes the JSON file and prints the tables."""
    from rich.console import Console

    from nnunet_mgcl.data.results import results_of
    from nnunet_mgcl.evaluation.comparison import compare_evaluations
    from nnunet_mgcl.evaluation.runs.comparable_evaluations import comparable_evaluations
    from nnunet_mgcl.evaluation.tables.comparison import comparison_tables, reasons
    from nnunet_mgcl.system.errors import UserError
    from nnunet_mgcl.system.files import write_json
    from nnunet_mgcl.system.names import check_names

    if len(args.models) < 2:
        raise UserError("models", "one", "two at least", "name another")
    for name in args.models if args.d else ():
        check_names({"MODEL": name})
    folder = results_of(args.d) if args.d else Path()
    models = [folder / name for name in args.models]
    content = compare_evaluations(comparable_evaluations(models, sorted(set(args.f)) if args.f else None))
    path = args.o or models[0].resolve().parent / "comparison.json"
    write_json(path, content)
    for table in comparison_tables(content):
        Console().print(table)
    for line in reasons(content):
        print(line)
    print(f"all numbers: {path}")
    return 0
