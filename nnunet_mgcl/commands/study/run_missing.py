"""`mgcl study run`: trains what is missing."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnunet_mgcl.study.jobs import Jobs

HELP = "train what is missing"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds its options."""
    parser.add_argument("--dry-run", action="store_true", help="print the commands of what is missing; train nothing")


def run(args: argparse.Namespace) -> int:
    """Trains; 1 where a training has failed."""
    from nnunet_mgcl.data.prepare import prepare_dataset
    from nnunet_mgcl.study.jobs import Jobs, named
    from nnunet_mgcl.study.running import run_missing
    from nnunet_mgcl.study.study_file import read_study
    from nnunet_mgcl.system.run_lock import run_lock
    from nnunet_mgcl.system.workers import default_processes

    jobs = Jobs(read_study(Path(args.study)))
    if args.dry_run:
        return _print_commands(jobs)
    with run_lock(jobs.folder / ".lock", jobs.folder, "mgcl study run"):
        first = jobs.first()
        jobs.write_plans(first)
        prepare_dataset(jobs.layout, jobs.base, jobs.study.configuration, default_processes(), print)
        failed = run_missing(jobs, first, print)
        failed += run_missing(jobs, jobs.classifiers(), print)
        more = jobs.equal_total()  # how much that is, only the finished trainings know
        jobs.write_plans(more)
        failed += run_missing(jobs, more, print)
    for job in failed:
        print(f"failed: {named(job)}")
    print(f"next: mgcl study report {args.study}" + (f"; mgcl study run {args.study} tries again" if failed else ""))
    return 1 if failed else 0


def _print_commands(jobs: Jobs) -> int:
    wanted = jobs.all()
    jobs.write_plans(wanted)
    for job in wanted:
        if not jobs.is_done(job):
            print(" ".join(jobs.command(job)))
    return 0
