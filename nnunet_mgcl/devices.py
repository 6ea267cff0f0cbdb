"""Which devices this machine has."""

from __future__ import annotations

import torch

from nnunet_mgcl.errors import UserError


def require_device(device: torch.device) -> None:
    """Refuses a device that this machine lacks, before anything is loaded.

    Raises:
        UserError: There is no such device.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(device.type, False):
        others = [name for name, there in available.items() if there]
        raise UserError(f"-device {device.type}", "not available here", f"one of {others}", f"add -device {others[-1]}")
