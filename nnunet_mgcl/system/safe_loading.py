"""Runs nothing of what somebody else may have made: checkpoints, pickles, the classes that a plan names."""

from __future__ import annotations

import os
import pickle
import pydoc
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager
from torch import nn

from nnunet_mgcl.system.errors import UserError

_FORCE, _FORBID = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
_BUILDERS: list[Any] = [np.float64(0).__reduce__()[0], np.zeros(0).__reduce__()[0]]  # of a number and of an array
_NUMPY: list[Any] = [
    *(
        (function, f"numpy.{core}.multiarray.{function.__name__}")  # named so by NumPy 1 and 2
        for function in _BUILDERS
        for core in ("core", "_core")
    ),
    *(np.dtype, np.ndarray, *{type(np.dtype(code)) for code in "?bBhHiIlLqQefd"}),
]
"""What the numbers in nnU-Net's checkpoints (losses, Dice) are made of."""
_PICKLED = {
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    *(("numpy", name) for name in ("ndarray", "dtype")),
    *(("collections", name) for name in ("OrderedDict", "defaultdict")),
    ("builtins", "list"),
    ("_codecs", "encode"),
}
"""What nnU-Net's properties of a preprocessed case are made of, besides numbers and strings."""
_ENDINGS = (".b2nd", "_seg.b2nd", ".npz", ".npy", "_seg.npy", ".pkl")
"""Of the files that nnU-Net may read for a preprocessed case."""
_TRUST = "take it from a source that you trust (SECURITY.md), or make it again"


@contextmanager
def weights_only() -> Iterator[None]:
    """Within it torch loads weights and numbers only, in nnU-Net too, which passes `weights_only=False`."""
    before = {name: os.environ.pop(name, None) for name in (_FORCE, _FORBID)}
    os.environ[_FORCE] = "1"
    try:
        with torch.serialization.safe_globals(_NUMPY):
            yield
    finally:
        del os.environ[_FORCE]
        os.environ.update({name: value for name, value in before.items() if value is not None})


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint of nnU-Net.

    Raises:
        UserError: It is none; or as in `load_weights`.
    """
    checkpoint, keys = load_weights(path), {"network_weights", "trainer_name", "init_args"}
    if not isinstance(checkpoint, dict) or not keys <= checkpoint.keys():
        raise UserError(path, "another content", "a checkpoint of nnU-Net", "name one that nnU-Net wrote (-chk)")
    return checkpoint


def load_weights(path: Path, device: torch.device | str = "cpu") -> Any:
    """Reads what torch has saved, weights and numbers only.

    Raises:
        UserError: It is damaged, or holds something that would be run.
    """
    try:
        with weights_only():
            return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch's, zipfile's, pickle's and the operating system's
        if named := re.search(r"GLOBAL (\S+)|unrecognized function (.+)", str(error)):
            found = f"code that loading would run ({named[1] or named[2]})"
            raise UserError(path, found, "weights and numbers only", _TRUST) from None
        sentence = (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0]  # of perhaps a page
        found = f"a damaged or truncated file ({sentence})"
        raise UserError(path, found, "a whole file", "copy it again from its source, or train the fold again") from None


@contextmanager
def loading_safely(checkpoints: Iterable[Path]) -> Iterator[None]:
    """Within it nnU-Net, too, loads weights and numbers only.

    Raises:
        UserError: One of the checkpoints is to blame for an error.
    """
    try:
        with weights_only():
            yield
    except Exception:
        for path in checkpoints:
            load_checkpoint(path)
        raise


def require_layers(configuration: ConfigurationManager) -> None:
    """Refuses a plan whose architecture names anything but layers and networks: nnU-Net calls whatever it names.

    Raises:
        UserError: It does.
    """
    if "architecture" not in configuration.configuration:
        return
    arguments = configuration.network_arch_init_kwargs
    named = [arguments.get(key) for key in configuration.network_arch_init_kwargs_req_import]
    for name in (configuration.network_arch_class_name, *named):
        if name is None:
            continue
        try:
            found = pydoc.locate(name) if isinstance(name, str) else name
        except pydoc.ErrorDuringImport as error:
            found = error
        if found is not None and not (isinstance(found, type) and issubclass(found, nn.Module)):
            raise UserError("the plan's architecture", str(name), "classes of torch.nn.Module only", _TRUST)


def load_case(dataset: nnUNetBaseDataset, case: str) -> tuple[Any, Any, Any, dict[str, Any]]:
    """nnU-Net's `load_case`, after a look at the files, and at the properties, which it unpickles.

    Raises:
        UserError: They hold something that would be run.
        OSError: A pipe, for which it would wait without end, or a folder is in a file's place.
    """
    paths = [Path(dataset.source_folder, f"{case}{ending}") for ending in _ENDINGS] if dataset.source_folder else []
    for path in filter(Path.exists, paths):
        if not path.is_file():
            raise OSError(f"{path.name} is no file")
        if path.suffix == ".pkl":
            status = path.stat()
            _require_harmless(path, status.st_mtime_ns, status.st_size)
    return dataset.load_case(case)


@cache
def _require_harmless(path: Path, mtime_ns: int, size: int) -> None:
    """Unpickles a file in the restricted way, once a version of it."""
    try:
        with path.open("rb") as file:
            _Unpickler(file).load()
    except _CodeError as error:
        raise UserError(path, f"code that loading would run ({error})", "numbers and arrays only", _TRUST) from None


class _CodeError(Exception):
    """Names what is not allowed in a pickle."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _PICKLED:
            raise _CodeError(f"{module}.{name}")
        return super().find_class(module, name)
