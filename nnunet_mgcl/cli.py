"""The command `mgcl`: one subcommand for each module of `nnunet_mgcl.commands` that is named below."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from nnunet_mgcl import __version__
from nnunet_mgcl.system.errors import INTERRUPTED, ending_with_one_message
from nnunet_mgcl.system.files import explaining_writes

# In the order of the help text. Each is a module of `nnunet_mgcl.commands` with `add_parser(subparsers)`,
# which adds the subcommand of that name, and `run(args) -> int`, which returns the exit status. Heavy imports
# (torch, nnunetv2) belong into `run`.
COMMANDS = (
    "env", "doctor", "phantom", "convert", "plan", "prepare", "schema", "pretrain", "predict", "head", "classifier",
    "summary", "evaluate", "compare", "report", "mismatch", "study",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one subcommand.

    Args:
        arguments: What follows `mgcl` on the command line; None: this process's own.

    Returns:
        The exit status.

    Raises:
        SystemExit: A mistake that the user can mend; Python prints its message and exits with status 1.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal in ASCII or cp1252 lacks letters that names may have
            stream.reconfigure(errors="backslashreplace")
    modules = _modules()
    args = _parser(modules).parse_args(arguments)
    try:
        with ending_with_one_message(), explaining_writes():
            return modules[args.command].run(args)
    except KeyboardInterrupt:
        print(f"\nmgcl {args.command}: interrupted", file=sys.stderr)
        return INTERRUPTED


def _modules() -> dict[str, ModuleType]:
    return {name: import_module(f"nnunet_mgcl.commands.{name}") for name in COMMANDS}


def _parser(modules: dict[str, ModuleType]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mgcl", description="Multi-grained contrastive learning for nnU-Net v2.")
    parser.add_argument("--version", action="version", version=f"nnunet_mgcl {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in modules.values():
        module.add_parser(subparsers)
    return parser
