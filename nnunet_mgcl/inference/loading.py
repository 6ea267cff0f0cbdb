"""Loads a trained model, for `mgcl predict` and for Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from nnunet_mgcl.data.results import FINAL
from nnunet_mgcl.inference.mgcl_predictor import MGCLPredictor
from nnunet_mgcl.system.devices import require_device

Predictor = TypeVar("Predictor", bound=MGCLPredictor)


def load_predictor(
    kind: type[Predictor],
    model: Path,
    folds: Sequence[str],
    device: torch.device,
    *,
    checkpoint: str = FINAL,
    on_device: bool = True,
    **options: Any,
) -> Predictor:
    """Loads folds that are there.

    Args:
        kind: The predictor's class.
        model: The results folder.
        folds: Names of its folds.
        device: Where to compute.
        checkpoint: Name of the folds' weights.
        on_device: Whether a GPU keeps the logits too.
        options: Others of nnU-Net's predictor.

    Raises:
        UserError: There is no such device, or the folder holds no whole model of this plugin.
    """
    require_device(device)
    predictor = kind(device=device, perform_everything_on_device=on_device and device.type == "cuda", **options)
    predictor.initialize_from_trained_model_folder(str(model), list(folds), checkpoint)
    return predictor
