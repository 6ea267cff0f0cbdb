"""`mgcl study`: trainers compared at several fractions of the labels."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnunet_mgcl.study.jobs import Jobs


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the subcommand."""
    parser = subparsers.add_parser(
        "study",
        help="compare trainers at several fractions of the labels",
        description="Trains every trainer of a study file at every fraction of the labels, in every fold and seed, and "
        "reports them side by side. Each training is a plain nnUNetv2_train.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    init = actions.add_parser("init", help="write a study file with every key")
    init.add_argument("study", type=Path, metavar="STUDY.toml")
    init.add_argument("-d", required=True, help="dataset name or number")
    init.add_argument("-c", default="2d", help="configuration (default: %(default)s)")
    init.add_argument("-p", default="nnUNetPlans", help="plans to start from (default: %(default)s)")
    init.add_argument("-device", default="cuda", choices=("cuda", "cpu", "mps"), help="default: %(default)s")
    run = actions.add_parser("run", help="train what is missing")
    run.add_argument("study", type=Path, metavar="STUDY.toml")
    run.add_argument("--dry-run", action="store_true", help="print the commands of what is missing, and train nothing")
    for name, words in (("status", "say what is done"), ("report", "write one page, CSV and LaTeX of what is done")):
        action = actions.add_parser(name, help=words)
        action.add_argument("study", type=Path, metavar="STUDY.toml")


def run(args: argparse.Namespace) -> int:
    """Does what was asked."""
    from nnunet_mgcl.study.study_file import write_template

    if args.action == "init":
        write_template(args.study, args.d, args.c, args.p, args.device)
        print(f"Wrote {args.study}; next: mgcl study run {args.study}")
        return 0
    from nnunet_mgcl.study.jobs import Jobs
    from nnunet_mgcl.study.study_file import read_study

    jobs = Jobs(read_study(args.study))
    if args.action == "run":
        return _dry_run(jobs) if args.dry_run else _run(jobs)
    return _status(jobs) if args.action == "status" else _report(jobs)


def _run(jobs: Jobs) -> int:
    from nnunet_mgcl.data.prepare import prepare_dataset
    from nnunet_mgcl.study.jobs import named
    from nnunet_mgcl.study.running import run_missing
    from nnunet_mgcl.system.run_lock import run_lock
    from nnunet_mgcl.system.workers import default_processes

    with run_lock(jobs.folder / ".lock", jobs.folder, "study"):
        first = jobs.first()
        jobs.write_plans(first)
        prepare_dataset(jobs.layout, jobs.base, jobs.study.configuration, default_processes(), print)
        failed = run_missing(jobs, first, print)
        more = jobs.equal_total()  # what a total is, only its trainings know
        jobs.write_plans([*first, *more])
        failed += run_missing(jobs, more, print)
    for job in failed:
        print(f"failed: {named(job)}")
    print(f"next: mgcl study report (or run, to try again) {'; it leaves out what failed' * bool(failed)}".rstrip())
    return 1 if failed else 0


def _dry_run(jobs: Jobs) -> int:
    first = jobs.first()
    wanted = [*first, *jobs.equal_total()]
    jobs.write_plans(wanted)
    for job in wanted:
        if not jobs.is_done(job):
            print(" ".join(jobs.command(job)))
    return 0


def _status(jobs: Jobs) -> int:
    from rich.console import Console

    from nnunet_mgcl.evaluation.tables.format import plain_table
    from nnunet_mgcl.study.jobs import named
    from nnunet_mgcl.system.files import is_there

    wanted = [*jobs.first(), *jobs.equal_total()]
    table = plain_table(f"Study {jobs.study.name}", ["training", "state", "hours"], names=2)
    for job in wanted:
        state = "done" if jobs.is_done(job) else "begun" if is_there(jobs.fold(job).inputs) else "missing"
        hours = sum(cost.seconds for cost in jobs.parts(job).values()) / 3600
        table.add_row(named(job), state, f"{hours:.2f}" if hours else "")
    Console().print(table)
    print(f"{sum(map(jobs.is_done, wanted))} of {len(wanted)} trainings are done")
    return 0


def _report(jobs: Jobs) -> int:
    from nnunet_mgcl.study.page import write_study
    from nnunet_mgcl.study.results import collect
    from nnunet_mgcl.system.errors import UserError

    content = collect(jobs)
    if not content["rows"]:
        raise UserError(jobs.folder, "no trainer with all its folds and seeds done", "one at least", "mgcl study run")
    print(f"Wrote {write_study(jobs.folder / 'report', content)}")
    return 0
