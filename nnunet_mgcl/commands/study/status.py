"""`mgcl study status`: what is done."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "say what is done"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has no options."""


def run(args: argparse.Namespace) -> int:
    """Prints a line a training."""
    from rich.console import Console

    from nnunet_mgcl.evaluation.tables.format import plain_table
    from nnunet_mgcl.study.jobs import Jobs, named
    from nnunet_mgcl.study.study_file import read_study
    from nnunet_mgcl.system.files import is_there

    jobs = Jobs(read_study(Path(args.study)))
    wanted = jobs.all()
    table = plain_table(f"Study {jobs.study.name}", ["training", "state", "hours"], names=2)
    for job in wanted:
        state = "done" if jobs.is_done(job) else "begun" if is_there(jobs.fold(job).inputs) else "missing"
        hours = sum(cost.seconds for cost in jobs.parts(job).values()) / 3600
        table.add_row(named(job), state, f"{hours:.2f}" if hours else "")
    Console().print(table)
    print(f"{sum(map(jobs.is_done, wanted))} of {len(wanted)} trainings are done")
    return 0
