"""What ends a process at a chosen moment, or leaves it without room on the disk."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from typing import Any

import torch


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def on_call(owner: Any, name: str, when: Callable[..., bool], number: int = 1, after: bool = False) -> None:
    """Kills this process before (or after) the `number`-th call of `owner.name` for which `when` holds."""
    original, calls = getattr(owner, name), []

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        hit = when(*args, **kwargs)
        calls.append(hit)
        if hit and sum(calls) == number and not after:
            killed()
        result = original(*args, **kwargs)
        if hit and sum(calls) == number and after:
            killed()
        return result

    setattr(owner, name, wrapper)


def on_write(folder: str, name: str, number: int = 1) -> None:
    """Kills this process in the middle of the `number`-th torch.save of such a file: half of it lies on disk."""
    original, calls = torch.save, []

    def save(content: Any, path: Any, *args: Any, **kwargs: Any) -> None:
        original(content, path, *args, **kwargs)
        if folder in str(path) and str(path).endswith(name):
            calls.append(path)
            if len(calls) == number:
                os.truncate(path, os.path.getsize(path) // 2)
                killed()

    torch.save = save  # type: ignore[assignment]


def always(*_: Any, **__: Any) -> bool:
    return True


def of_phase(phase: str, epoch: int) -> Callable[..., bool]:
    return lambda trainer, at, *_: trainer.job.phase == phase and at == epoch


def no_room_from(owner: Any, name: str, when: Callable[..., bool]) -> None:
    """From a call on, no file may grow beyond 60 kB: every checkpoint fails in the middle."""
    original = getattr(owner, name)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if when(*args, **kwargs):
            resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
        return original(*args, **kwargs)

    setattr(owner, name, wrapper)
