"""Puts another trained TSS head into the checkpoints of all folds of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import Tensor

from nnunet_mgcl.data.layout import FoldLayout, folds_of
from nnunet_mgcl.engine.seeding import reseed
from nnunet_mgcl.evaluation.calibration.stored import KEY
from nnunet_mgcl.evaluation.runs.tss_validation import TABLE, require_column, switch_head
from nnunet_mgcl.plan.build import build_classifier, resolved_config
from nnunet_mgcl.plan.plans_file import read_plans
from nnunet_mgcl.system.errors import UserError, suggestion
from nnunet_mgcl.system.files import read_json, replacing, write_json
from nnunet_mgcl.system.safe_loading import load_checkpoint, load_weights
from nnunet_mgcl.tss.probability import trained_heads

PREFIX = "tss."
"""Of the head's keys in a checkpoint."""


def switch_model(model: Path, configuration: str, chosen: str) -> list[str]:
    """Makes `chosen` the head of every fold: checkpoints, plans.json, the validations' columns and summaries.

    Nothing is written before all folds can be switched, and plans.json, which they share, is written last: where the
    run is killed in between, the same command finishes it. The other heads stay in `phases/tss`.

    Args:
        model: The results folder.
        configuration: Its configuration.
        chosen: Name of the head.

    Returns:
        The folds, by name.

    Raises:
        UserError: A fold is unfinished, lacks the head, or was validated without it.
    """
    plans = read_plans(model / "plans.json")
    config = resolved_config(PlansManager(plans).get_configuration(configuration))
    if not config.tss.enabled:
        raise UserError(model, "a model without a TSS head", "one that was trained with tss.csv", "choose another")
    folds = folds_of(model)
    for fold in folds:
        _require(fold, config.tss.head, chosen)
    block = plans["configurations"][configuration]["mgcl"]["tss"]
    block["compared"] = sorted({*config.tss.compared, config.tss.head, chosen})
    block["head"] = chosen
    for fold in folds:
        _switch_fold(fold, plans, configuration, config.tss.head, chosen)
    plans.pop(KEY, None)  # fitted on the other head's probabilities
    write_json(model / "plans.json", plans)
    return [fold.root.name for fold in folds]


def _require(fold: FoldLayout, earlier: str, chosen: str) -> None:
    if not (fold.root / "checkpoint_final.pth").is_file():
        expected = "a finished fold: all folds share plans.json, which names the head"
        remedy = "let its training finish, or move the folder away"
        raise UserError(fold.root, "no checkpoint_final.pth", expected, remedy)
    heads = trained_heads(fold)
    if missing := [kind for kind in (chosen, earlier) if kind not in heads]:
        remedy = suggestion(missing[0], heads) if heads else "train the fold again"
        raise UserError(fold.phase("tss"), f"no {missing[0]}", "the head as phase tss left it", remedy)
    if earlier != chosen and (fold.validation / TABLE).is_file():
        require_column(fold.validation, earlier, chosen)


def _switch_fold(fold: FoldLayout, plans: dict[str, Any], configuration: str, earlier: str, chosen: str) -> None:
    trained = load_weights(fold.phase("tss", chosen) / "network.pth")
    reseed("switch", chosen)
    untrained = build_classifier(PlansManager(plans).get_configuration(configuration), chosen).state_dict()
    for name, head in (("checkpoint_final.pth", trained), ("checkpoint_best.pth", untrained)):
        if (path := fold.root / name).is_file():
            _rewrite(path, head, plans)
    if fold.inputs.is_file():  # so that --c does not take the switch for another plan
        inputs, tss = read_json(fold.inputs), plans["configurations"][configuration]["mgcl"]["tss"]
        inputs["plan"]["mgcl"]["tss"] |= {key: tss[key] for key in ("head", "compared")}
        write_json(fold.inputs, inputs)
    if earlier != chosen and (fold.validation / TABLE).is_file():
        switch_head(fold.validation, earlier, chosen)


def _rewrite(path: Path, head: dict[str, Tensor], plans: dict[str, Any]) -> None:
    """A checkpoint with another head; the rest of it stays bit for bit."""
    checkpoint = load_checkpoint(path)
    weights = {key: value for key, value in checkpoint["network_weights"].items() if not key.startswith(PREFIX)}
    checkpoint["network_weights"] = weights | {PREFIX + key: value for key, value in head.items()}
    checkpoint["init_args"]["plans"] = plans
    with replacing(path) as temporary:
        torch.save(checkpoint, temporary)
