"""`mgcl schema`: the JSON schema of the `mgcl` block of a plans file."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the subcommand."""
    parser = subparsers.add_parser("schema", help="print the JSON schema of a plan's mgcl block")
    parser.add_argument("-o", type=Path, metavar="FILE", help="write it to a file")


def run(args: argparse.Namespace) -> int:
    """Prints or writes the schema."""
    from nnunet_mgcl.system.files import write_text

    if args.o:
        write_text(args.o, schema_text())
    else:
        print(schema_text(), end="")
    return 0


def schema_text() -> str:
    """The schema as JSON text, every key with its description and default."""
    import json

    from nnunet_mgcl.plan.config import config_model
    from nnunet_mgcl.pretraining.lookup import register_methods

    register_methods()
    return json.dumps(config_model().model_json_schema(), indent=4) + "\n"
