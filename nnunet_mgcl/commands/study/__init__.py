"""`mgcl study`: trainers compared at several fractions of the labels; one file an action."""

from __future__ import annotations

import argparse

from nnunet_mgcl.commands.study import init, report, run_missing, status

ACTIONS = {"init": init, "run": run_missing, "status": status, "report": report}


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the subcommand."""
    parser = subparsers.add_parser(
        "study",
        help="compare trainers at several fractions of the labels",
        description="Trains every trainer of a study file at every fraction of the labels, in every fold and seed, and "
        "reports them side by side. Each training is a plain nnUNetv2_train.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, module in ACTIONS.items():
        action = actions.add_parser(name, help=module.HELP)
        action.add_argument("study", metavar="STUDY.toml", help="the study file")
        module.add_arguments(action)


def run(args: argparse.Namespace) -> int:
    """Does what was asked."""
    return ACTIONS[args.action].run(args)
