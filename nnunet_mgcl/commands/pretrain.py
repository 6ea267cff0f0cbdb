"""`mgcl pretrain`: label-free phases once for all folds."""

from __future__ import annotations

import argparse


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the subcommand."""
    parser = subparsers.add_parser(
        "pretrain",
        help="run a trainer's label-free phases once for all folds",
        description="Trains the phases that need no label on the unlabelled pool, in nnUNet_results/DATASET/"
        "mgcl_pretrained. nnUNetv2_train takes the result from there, and does the same itself where it is missing.",
    )
    parser.add_argument("-d", required=True, help="dataset name or number")
    parser.add_argument("-c", required=True, help="configuration, e.g. 2d")
    parser.add_argument("-tr", required=True, help="trainer")
    parser.add_argument("-p", default="nnUNetPlans", help="plans name (default: %(default)s)")
    parser.add_argument("-device", default="cuda", choices=("cuda", "cpu", "mps"), help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Pretrains, or finds that it is done."""
    import torch
    from nnunetv2.configuration import default_num_processes
    from nnunetv2.paths import nnUNet_results

    from nnunet_mgcl.data.layout import DatasetLayout
    from nnunet_mgcl.data.prepare import load_plans
    from nnunet_mgcl.system.devices import require_device, use_own_cores
    from nnunet_mgcl.system.errors import UserError
    from nnunet_mgcl.training.by_name import trainer_by_name
    from nnunet_mgcl.training.on_pool import pretrain_on_pool

    trainer = trainer_by_name(args.tr)
    require_device(device := torch.device(args.device))
    if not nnUNet_results.is_set():
        raise UserError("nnUNet_results", "not set", "a folder", "export nnUNet_results=<folder>")
    layout = DatasetLayout.find(args.d)
    plans = load_plans(layout, args.p)
    use_own_cores(device)
    for folder in pretrain_on_pool(trainer, layout, plans, args.c, device, default_num_processes, log):
        print(folder)
    return 0


def log(line: str, to_console: bool = True) -> None:
    """Prints a line; what is meant for a log file only is left out."""
    if to_console:
        print(line)
