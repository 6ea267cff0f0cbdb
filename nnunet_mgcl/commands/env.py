"""`mgcl env`: the shell line that makes nnU-Net find the trainers."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from nnunet_mgcl.system.resources import FOLDERS, TRAINERS, extended, trainers_dir

SHELLS = ("bash", "fish", "powershell")  # zsh and sh read bash's line


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the subcommand."""
    parser = subparsers.add_parser(
        "env",
        help="print the line that makes nnU-Net find the trainers",
        description=f'Prints the line that sets {TRAINERS}. bash, zsh: eval "$(mgcl env)"; '
        "fish: mgcl env | source; PowerShell: mgcl env --shell powershell | Invoke-Expression",
    )
    parser.add_argument("--shell", choices=SHELLS, help="default: guessed from $SHELL")


def run(args: argparse.Namespace) -> int:
    """Prints the line to standard output, and what else is missing to standard error."""
    shell = args.shell or guess_shell(os.environ)
    print(export_line(shell, TRAINERS, extended(os.environ.get(TRAINERS, ""), trainers_dir())))
    for name in FOLDERS:
        if not os.environ.get(name):
            print(f"# {name} is not set: nnU-Net needs it", file=sys.stderr)
    return 0


def guess_shell(environment: Mapping[str, str]) -> str:
    """The shell to write for, one of `SHELLS`."""
    shell = Path(environment.get("SHELL", "")).name
    if shell.startswith("pwsh") or (not shell and os.name == "nt"):
        return "powershell"
    return "fish" if shell == "fish" else "bash"


def export_line(shell: str, name: str, value: str) -> str:
    """One line in the shell's language that exports a variable, whatever its value."""
    if shell == "powershell":
        quoted = value.replace("'", "''")
        return f"$env:{name} = '{quoted}'"
    if shell == "fish":
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"set -gx {name} '{quoted}'"
    return f"export {name}={shlex.quote(value)}"
