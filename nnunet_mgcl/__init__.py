"""nnunet_mgcl: multi-grained contrastive learning (MGCL) for nnU-Net v2.

The public names are those of `__all__`; docs/python.md describes them. They are imported when they are first asked for,
since torch and nnU-Net take seconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnunet_mgcl.convert.build import build_dataset
    from nnunet_mgcl.data.raw_dataset import Dataset, read_dataset
    from nnunet_mgcl.evaluation.references import evaluate_case, evaluate_folder
    from nnunet_mgcl.inference.mgcl_predictor import MGCLPredictor
    from nnunet_mgcl.inference.model import Model
    from nnunet_mgcl.inference.prediction import Prediction
    from nnunet_mgcl.losses.supcon import supcon_loss
    from nnunet_mgcl.system.errors import UserError

__version__ = "0.1.0"

__all__ = [
    "Dataset",
    "MGCLPredictor",
    "Model",
    "Prediction",
    "UserError",
    "build_dataset",
    "evaluate_case",
    "evaluate_folder",
    "read_dataset",
    "supcon_loss",
]

_ROOMS = {
    "Dataset": "data.raw_dataset",
    "MGCLPredictor": "inference.mgcl_predictor",
    "Model": "inference.model",
    "Prediction": "inference.prediction",
    "UserError": "system.errors",
    "build_dataset": "convert.build",
    "evaluate_case": "evaluation.references",
    "evaluate_folder": "evaluation.references",
    "read_dataset": "data.raw_dataset",
    "supcon_loss": "losses.supcon",
}


if not TYPE_CHECKING:  # to a type checker a module that has this has every name

    def __getattr__(name: str) -> object:
        if name not in _ROOMS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
