"""The classifiers by name."""

from __future__ import annotations

from nnunet_mgcl.tss.classifiers.mismatch_rule import MismatchRule
from nnunet_mgcl.tss.classifiers.protocol import Classifier
from nnunet_mgcl.tss.classifiers.radiomics_svm import RadiomicsSVM
from nnunet_mgcl.tss.classifiers.volume_network import NETWORKS

_METHODS: list[type[Classifier]] = [*NETWORKS, RadiomicsSVM, MismatchRule]
METHODS = {method.name: method for method in _METHODS}
