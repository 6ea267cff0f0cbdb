"""What the model was trained with: plan, settings of the phases, versions, seeds, folds and commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nnunet_mgcl.data.layout import FoldLayout
from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.report.page.section import Section, Table
from nnunet_mgcl.report.page.wording import fold_names
from nnunet_mgcl.system.files import is_there
from nnunet_mgcl.system.typed_json import read_typed
from nnunet_mgcl.system.versions import installed_versions, read_versions

TRAINING = {"torch_version": "torch", "cudnn_version": "cuDNN", "device": "device", "gpu_name": "GPU"}
"""What is taken from nnU-Net's debug.json; most of the rest names folders and the host."""
NOT_NOTED = "not noted"


AGAIN = (
    "What it takes to train this model again: the dataset as it was, and the plan. That is plans.json of the results "
    "folder; copy it into the dataset's folder in nnUNet_preprocessed, named as the plans. First mgcl env; where there "
    "is no GPU, -device cpu."
)


def settings_section(run: ValidatedRun, content: dict[str, Any]) -> Section:
    """Everything that somebody needs to train the model again, folded away. No path and no host is named."""
    text, tables = [AGAIN], [_commands(run, content), _folds(run), _plan(run), _versions(run, content)]
    if run.is_stock:
        text.append("A stock trainer of nnU-Net has no settings of phases, and no random seed of its own.")
    else:
        block = tuple(_flat(run.plan.configuration.get("mgcl", {})))
        tables.append(Table("Settings of the phases (mgcl block of the plan)", ("", "value"), block))
    return Section("Settings", tuple(text), tuple(tables), folded=True)


def _commands(run: ValidatedRun, content: dict[str, Any]) -> Table:
    trainer, plans, configuration = (*run.model.name.split("__"), "", "")[:3]
    name, settings = run.layout.name, content["settings"]
    model = f"-d {name} -tr {trainer} -p {plans} -c {configuration}"
    if run.some_folds:
        model += f" -f {' '.join(map(str, run.some_folds))}"
    options = f"--tolerance {settings['surface_dice_tolerance_mm']:g} --sensitivity {settings['sensitivity']:g}"
    each, train = " ".join(map(str, run.folds)), f"nnUNetv2_train {name} {configuration} $fold -tr {trainer} -p {plans}"
    rows = (
        ("train", f"for fold in {each}; do {train}; done"),
        ("evaluate", f"mgcl evaluate {model} {options}"),
        ("report", f"mgcl report {model}"),
    )
    return Table("Commands", ("", ""), rows)


def _folds(run: ValidatedRun) -> Table:
    rows, table = [], run.tss_table
    for fold in run.folds:
        train, validated = run.splits[fold]["train"], run.splits[fold]["val"]
        classes = [table.positive(case) if table else None for case in validated]
        counts = (len(train), len(validated), *map(classes.count, (True, False, None)))
        rows.append((f"Fold {fold}", *map(str, counts)))
    columns = ("", "training cases", "validation cases", "TSS\u00a0<\u00a04.5\u00a0h", "later", "TSS unknown")
    return Table("Folds; the TSS is of the validation cases", columns, tuple(rows))


def _plan(run: ValidatedRun) -> Table:
    plan, plans, network = run.plan, run.plans.plans, run.plan.configuration["architecture"]
    rows = {
        "Plans": run.plans.plans_name,
        "Configuration": run.configuration,
        "Patch size (voxels)": _word(plan.patch_size, " x "),
        "Batch size": _word(plan.batch_size),
        "Spacing (mm)": _word(plan.spacing, " x "),
        "Median spacing of the images (mm)": _word(plans["original_median_spacing_after_transp"], " x "),
        "Median size of the images (voxels)": _word(plans["original_median_shape_after_transp"], " x "),
        "Normalisation": _word(list(dict.fromkeys(plan.normalization_schemes))),
        "Network": network["network_class_name"].split(".")[-1],
        "Stages": _word(network["arch_kwargs"].get("n_stages", NOT_NOTED)),
        "Features of each stage": _word(network["arch_kwargs"].get("features_per_stage", NOT_NOTED)),
        "Batch Dice": _word(plan.batch_dice),
    }
    return Table("Plan", ("", "value"), tuple(rows.items()))


def _versions(run: ValidatedRun, content: dict[str, Any]) -> Table:
    """Of this report, and what was noted at the training."""
    now = installed_versions()
    noted = {fold: _noted(FoldLayout(run.model / f"fold_{fold}")) for fold in run.folds}
    names = dict.fromkeys([*now, *(name for own in noted.values() for name in own)])
    rows = [(name, now.get(name, ""), _of_folds(noted, name)) for name in names]
    evaluated = ("nnunet_mgcl, evaluation", content["nnunet_mgcl"], "")
    return Table("Versions", ("", "this report", "training"), (*rows, evaluated))


def _noted(layout: FoldLayout) -> dict[str, str]:
    """What a fold's versions.json and nnU-Net's debug.json say, the latter with the build."""
    debug = layout.root / "debug.json"
    runs = read_versions(layout.versions)
    names = dict.fromkeys(name for versions in runs for name in versions)
    noted = {name: ", then ".join(dict.fromkeys(run[name] for run in runs if name in run)) for name in names}
    said = read_typed(dict[str, Any], debug, "remove the file; it influences no result") if is_there(debug) else {}
    return noted | {name: said[key] for key, name in TRAINING.items() if said.get(key) not in (None, "None")}


def _of_folds(noted: Mapping[int, Mapping[str, str]], name: str) -> str:
    """What was noted, with the folds where they differ."""
    folds: dict[str, list[int]] = {}
    for fold, versions in noted.items():
        if name in versions:
            folds.setdefault(str(versions[name]), []).append(fold)
    if len(folds) == 1:
        return next(iter(folds))
    return "; ".join(f"{value} ({fold_names(those)})" for value, those in folds.items()) or NOT_NOTED


def _flat(block: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """`coarse.epochs`, `120`."""
    for key, value in block.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _word(value)


def _word(value: Any, separator: str = ", ") -> str:
    if isinstance(value, list | tuple):
        return separator.join(map(_word, value))
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
