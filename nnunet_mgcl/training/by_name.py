"""A trainer of this plugin by its name."""

from __future__ import annotations

from nnunet_mgcl.pretraining.lookup import register_methods, trainer_class
from nnunet_mgcl.system.errors import UserError, reason
from nnunet_mgcl.system.names import check_names
from nnunet_mgcl.training.base_trainer import BaseTrainer


def trainer_by_name(name: str) -> type[BaseTrainer]:
    """The trainer that `nnUNetv2_train -tr NAME` would train; the blocks of all methods are known then.

    Raises:
        UserError: There is none of this name, or it is not of this plugin.
    """
    check_names({"-tr": name})
    register_methods()
    try:
        trainer = trainer_class(name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"-tr {name}", reason(error), "a trainer of this plugin", "mgcl doctor") from None
    if not issubclass(trainer, BaseTrainer):
        raise UserError(f"-tr {name}", "a trainer of nnU-Net", "one of this plugin", "choose another")
    found: type[BaseTrainer] = trainer
    return found
