"""`mgcl plan`: a new plans file from a preset and single values."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnunet_mgcl.data.layout import DatasetLayout


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the subcommand."""
    parser = subparsers.add_parser(
        "plan",
        help="write a plans file with a preset's numbers",
        description="Writes nnUNet_preprocessed/DATASET/MGCLPlans_PRESET.json for nnUNetv2_train -p. By nnU-Net's own "
        "estimate of GPU memory, lowers the batch or switches checkpointing on where the branches would not fit.",
    )
    parser.add_argument("-d", required=True, help="dataset name or number")
    parser.add_argument("-c", nargs="+", help="configurations to change (default: all but cascades)")
    parser.add_argument("-p", default="nnUNetPlans", help="plans to start from (default: %(default)s)")
    parser.add_argument(
        "-tr", default="MGCLTrainer", help="trainer whose phases are to fit into memory (default: %(default)s)"
    )
    parser.add_argument("--preset", help="paper, short, few, demo, or a JSON file of your own (default: none)")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="single values: coarse.epochs=20, or outside the mgcl block configuration.batch_size=8",
    )
    parser.add_argument("-o", "--plans-name", help="name of the new plans (default: MGCLPlans_PRESET or MGCLPlans)")
    parser.add_argument("--overwrite", action="store_true", help="replace plans of that name")


def run(args: argparse.Namespace) -> int:
    """Writes the plans file."""
    from nnunet_mgcl.data.layout import DatasetLayout
    from nnunet_mgcl.data.prepare import load_plans, tss_known
    from nnunet_mgcl.plan.dataset_json import read_dataset_json
    from nnunet_mgcl.plan.memory_fit import fit_to_memory
    from nnunet_mgcl.plan.presets import apply_preset, load_preset, plain_configurations, requested
    from nnunet_mgcl.system.names import check_new_plans_name
    from nnunet_mgcl.training.by_name import trainer_by_name

    blocks = trainer_by_name(args.tr).method_blocks()
    name = args.plans_name or (f"MGCLPlans_{Path(args.preset).stem}" if args.preset else "MGCLPlans")
    check_new_plans_name(name)
    layout = DatasetLayout.find(args.d)
    plans = load_plans(layout, args.p)
    configurations = args.c or plain_configurations(plans)
    preset = load_preset(args.preset) if args.preset else {"configurations": {}}
    overrides = parse_overrides(args.set)
    dataset_json, has_tss = read_dataset_json(layout.dataset_json), tss_known(layout)
    new = apply_preset(plans, configurations, preset, overrides, name, dataset_json, has_tss)
    for configuration in configurations:
        batch_was_chosen = "batch_size" in requested(plans, configuration, preset, overrides)
        new, lines = fit_to_memory(new, configuration, plans, batch_was_chosen, dataset_json, has_tss, blocks)
        for line in lines:
            print(line)
    _write(layout, plans, new, args.overwrite)
    for configuration in configurations:
        _say_what_follows(layout, plans, new, configuration, args.tr)
    return 0


def parse_overrides(texts: list[str]) -> dict[str, str]:
    """`["coarse.epochs=20"]` as a dict.

    Raises:
        UserError: A text is not KEY=VALUE.
    """
    from nnunet_mgcl.system.errors import UserError

    for text in texts:
        if "=" not in text:
            raise UserError(f"--set {text}", "no =", "KEY=VALUE such as coarse.epochs=20", "mend the argument")
    return dict(text.split("=", 1) for text in texts)


def _write(layout: DatasetLayout, plans: dict[str, Any], new: dict[str, Any], overwrite: bool) -> None:
    from nnunet_mgcl.data.results import trained_with
    from nnunet_mgcl.system.errors import UserError, some
    from nnunet_mgcl.system.files import write_json

    path, name = layout.plans(new["plans_name"]), new["plans_name"]
    if name == plans["plans_name"]:
        raise UserError("--plans-name", f"{name!r}, the plans to start from", "another", "choose one")
    changed = os.path.lexists(path) and _plans_to_replace(path) != new
    if changed and not overwrite:
        raise UserError(path, "an existing file with other content", "no such file", "use -o NAME or --overwrite")
    write_json(path, new)
    print(f"Wrote {path}")
    if changed and (models := [str(model) for model in trained_with(layout.name, name)]):
        print(f"The plans that it replaced were trained with, and these keep theirs: {some(models)}")


def _plans_to_replace(path: Path) -> dict[str, Any]:
    """The plans of that name: nothing else is replaced, with --overwrite or without."""
    from nnunet_mgcl.plan.plans_file import read_plans
    from nnunet_mgcl.system.errors import UserError

    try:
        return read_plans(path)
    except UserError as error:
        found = f"a file that is no plans file ({error.where.removeprefix(f'{path}: ')}: {error.found})"
        raise UserError(path, found, "no such file, or plans", "use -o NAME, or remove the file") from None


def _say_what_follows(
    layout: DatasetLayout, plans: dict[str, Any], new: dict[str, Any], configuration: str, trainer: str
) -> None:
    from nnunet_mgcl.plan.plans import merged_configuration

    before, after = (merged_configuration(each, configuration) for each in (plans, new))
    name, number = new["plans_name"], layout.number
    if before["data_identifier"] != after["data_identifier"]:
        print(f"{configuration}: other preprocessing, so: nnUNetv2_preprocess -d {number} -plans_name {name} "
              f"-c {configuration}")  # fmt: skip
    print(f"{configuration}: nnUNetv2_train {number} {configuration} 0 -tr {trainer} -p {name}")
