"""`mgcl study report`: one page of what is done."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "write one page, CSV and LaTeX of what is done"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has no options."""


def run(args: argparse.Namespace) -> int:
    """Evaluates what was not yet, and writes."""
    from nnunet_mgcl.study.jobs import Jobs
    from nnunet_mgcl.study.page import write_study
    from nnunet_mgcl.study.results import collect
    from nnunet_mgcl.study.study_file import read_study
    from nnunet_mgcl.system.errors import UserError

    jobs = Jobs(read_study(Path(args.study)))
    content = collect(jobs)
    if not content["rows"]:
        remedy = f"mgcl study run {args.study}"
        raise UserError(jobs.folder, "no trainer with all its folds and seeds done", "one at least", remedy)
    print(f"Wrote {write_study(jobs.folder / 'report', content)}")
    return 0
