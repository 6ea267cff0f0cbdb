"""The command that changes a plan, as a remedy that works as typed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnunet_mgcl.plan.memory import MemoryEstimate


def plan_command(memory: MemoryEstimate, settings: Mapping[str, Any], suffix: str) -> str:
    """`mgcl plan ... --set ...`, and what to train with afterwards.

    Args:
        memory: The configuration that is trained; it knows the plan's and the dataset's name.
        settings: Keys as `mgcl plan --set` names them, with their new values.
        suffix: Of the new plan's name.
    """
    values = " ".join(f"{key}={value}" for key, value in settings.items())
    name, dataset = memory.plans["plans_name"], memory.plans["dataset_name"]
    new = f"{name}_{suffix}"
    command = f"mgcl plan -d {dataset} -c {memory.configuration} -p {name} --set {values} -o {new}"
    return f"{command}, then train with -p {new}"
