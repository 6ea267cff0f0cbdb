"""Explicit seeds: every epoch of every phase starts from a known random state."""

from __future__ import annotations

import random
import zlib

import numpy as np
import torch


def reseed(*origin: int | str) -> None:
    """Seeds Python, NumPy and torch from e.g. (random_seed, fold, phase, branch, epoch).

    With `nnUNet_n_proc_DA=0` a run resumed at an epoch boundary is then identical to an uninterrupted one; nnU-Net's
    worker processes are unseeded, so with workers nothing is promised.
    """
    seed = zlib.crc32("/".join(map(str, origin)).encode())
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
