"""`mgcl doctor`: is everything in place? Every problem comes with its remedy."""

from __future__ import annotations

import argparse
import sys

from nnunet_mgcl.system.installation import Finding, examine


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the subcommand."""
    subparsers.add_parser(
        "doctor",
        help="check the installation",
        description="Checks versions, device, folders and whether nnU-Net finds the trainers. "
        "Exit status 1 if anything is wrong.",
    )


def run(args: argparse.Namespace) -> int:
    """Prints the report."""
    findings = list(examine())
    _print_report(findings)
    return int(any(finding.is_problem for finding in findings))


def _print_report(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    # Nobody sees the right edge of a pipe: wrap there as on a wide screen.
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table("", "what", "found")
    for finding in findings:
        table.add_row(finding.mark, escape(finding.subject), escape(finding.found))
    console.print(table)
    for finding in findings:
        if finding.remedy:
            console.print(f"{finding.mark} {escape(finding.subject)}: {escape(finding.remedy)}", soft_wrap=True)
    if not any(finding.is_problem for finding in findings):
        console.print("Everything is in place.")
