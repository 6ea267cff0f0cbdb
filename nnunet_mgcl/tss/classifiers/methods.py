"""The classifiers by name."""

from __future__ import annotations

from nnunet_mgcl.system.errors import UserError, suggestion
from nnunet_mgcl.tss.classifiers.mismatch_rule import MismatchRule
from nnunet_mgcl.tss.classifiers.protocol import Classifier
from nnunet_mgcl.tss.classifiers.radiomics_svm import RadiomicsSVM
from nnunet_mgcl.tss.classifiers.volume_network import NETWORKS

_METHODS: list[type[Classifier]] = [*NETWORKS, RadiomicsSVM, MismatchRule]
METHODS = {method.name: method for method in _METHODS}


def method_by_name(name: str) -> type[Classifier]:
    """A classifier.

    Raises:
        UserError: There is none of this name.
    """
    if name not in METHODS:
        remedy = suggestion(name, METHODS, "choose one")
        raise UserError("--method", name, f"one of {', '.join(METHODS)}", remedy)
    return METHODS[name]
