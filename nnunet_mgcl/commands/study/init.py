"""`mgcl study init`: a study file with every key."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "write a study file with every key"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds its options."""
    parser.add_argument("-d", required=True, help="dataset name or number")
    parser.add_argument("-c", default="2d", help="configuration (default: %(default)s)")
    parser.add_argument("-p", default="nnUNetPlans", help="plans to start from (default: %(default)s)")
    parser.add_argument("-device", default="cuda", choices=("cuda", "cpu", "mps"), help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Writes the file."""
    from nnunet_mgcl.study.study_file import write_template
    from nnunet_mgcl.system.names import check_names

    check_names({"-p": args.p, "-c": args.c, "-d": args.d})
    write_template(Path(args.study), args.d, args.c, args.p, args.device)
    print(f"Wrote {args.study}; next: mgcl study run {args.study}")
    return 0
