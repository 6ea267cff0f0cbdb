"""What the model was trained with: plan, settings of the phases, versions, seeds, folds and commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nnunet_mgcl.data.layout import FoldLayout
from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.report.page.section import Section
from nnunet_mgcl.report.page.wording import grouped, with_folds
from nnunet_mgcl.system.files import is_there
from nnunet_mgcl.system.typed_json import read_typed
from nnunet_mgcl.system.versions import installed_versions, read_versions

TRAINING = {"torch_version": "torch", "cudnn_version": "cuDNN", "device": "device", "gpu_name": "GPU"}
"""What is taken from nnU-Net's debug.json; most of the rest names folders and the host."""
NOT_NOTED = "not noted"


def settings_section(run: ValidatedRun, content: dict[str, Any]) -> Section:
    """Everything that somebody needs to train the model again, folded away. No path and no host is named."""
    classes = {
        fold: [run.tss_table.positive(case) if run.tss_table else None for case in run.splits[fold]["val"]]
        for fold in run.folds
    }
    return Section.of(
        "Settings",
        "cross_validation/training/settings",
        folded=True,
        run=run,
        content=content,
        classes=classes,
        versions=_versions(run),
        block=_flat(run.plan.configuration.get("mgcl", {})),
        word=_word,
        NOT_NOTED=NOT_NOTED,
    )


def _versions(run: ValidatedRun) -> list[tuple[str, str, str]]:
    """Name, version at this report, and what was noted at the training."""
    now = installed_versions()
    noted = {fold: _noted(FoldLayout(run.model / f"fold_{fold}")) for fold in run.folds}
    names = dict.fromkeys([*now, *(name for own in noted.values() for name in own)])
    return [(name, now.get(name, ""), _of_folds(noted, name)) for name in names]


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
    folds = grouped((versions[name], fold) for fold, versions in noted.items() if name in versions)
    return next(iter(folds)) if len(folds) == 1 else with_folds(folds) or NOT_NOTED


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
