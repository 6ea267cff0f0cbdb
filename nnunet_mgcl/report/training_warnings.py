"""What went wrong in a fold's training without ending it."""

from __future__ import annotations

from nnunet_mgcl.data.layout import FoldLayout
from nnunet_mgcl.engine.training_warnings import TrainingWarning, read_warnings
from nnunet_mgcl.system.errors import UserError


def training_warnings(fold: FoldLayout) -> list[TrainingWarning]:
    """The warnings that a fold's training noted; a file of them that cannot be read is one, too."""
    try:
        return read_warnings(fold.warnings)
    except UserError as error:
        return [TrainingWarning("phases/warnings.json cannot be read", "", error.found, error.remedy)]
