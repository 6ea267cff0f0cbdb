"""`mgcl prepare`: checks and preprocesses what stock nnU-Net does not know."""

from __future__ import annotations

import argparse

from nnunet_mgcl.system.numbers import integer


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the subcommand."""
    parser = subparsers.add_parser(
        "prepare",
        help="check and preprocess TSS table, split and unlabelled pool",
        description="Run it after nnUNetv2_plan_and_preprocess. Training does the same where it is missing, but "
        "does not take over a tss.csv that has changed since.",
    )
    parser.add_argument("-d", required=True, help="dataset name or number")
    parser.add_argument("-c", nargs="+", required=True, help="configurations, e.g. 2d")
    parser.add_argument("-p", default="nnUNetPlans", help="plans name (default: %(default)s)")
    parser.add_argument("-np", type=integer, help="processes (default: nnU-Net's)")
    parser.add_argument(
        "-num_parts", type=integer, default=1,
        help="share the pool between so many calls, on machines with one file system (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "-part_id",
        type=integer,
        default=0,
        help="which of them this is, from 0; the one that ends last joins all",
    )


def run(args: argparse.Namespace) -> int:
    """Prepares the dataset for each configuration."""
    from nnunetv2.configuration import default_num_processes

    from nnunet_mgcl.data.layout import DatasetLayout
    from nnunet_mgcl.data.pool.parts import PoolPart
    from nnunet_mgcl.data.prepare import load_plans, prepare_dataset
    from nnunet_mgcl.pretraining.lookup import register_methods
    from nnunet_mgcl.system.errors import counted
    from nnunet_mgcl.system.workers import require_part, require_processes

    require_processes(args.np)
    require_part(args.part_id, args.num_parts)
    register_methods()
    layout = DatasetLayout.find(args.d)
    plans = load_plans(layout, args.p)
    for configuration in args.c:
        part, processes = PoolPart(args.part_id, args.num_parts), args.np or default_num_processes
        prepared = prepare_dataset(layout, plans, configuration, processes, print, refresh=True, part=part)
        if not prepared.joined:
            print(f"{layout.name}, {configuration}: part {part.number} of {part.total} is done; the last joins them")
            continue
        known = len(prepared.table.cases) if prepared.table else 0
        folds, cases = counted(len(prepared.splits), "fold"), counted(known, "case")
        print(f"{layout.name} is ready for {configuration}: {folds}, {cases} with a TSS")
    return 0
