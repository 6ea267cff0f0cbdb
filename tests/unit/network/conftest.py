"""Networks of the tiny plan, as `build_network` makes them."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_mgcl.network.mgcl_network import MGCLNetwork
from nnunet_mgcl.plan.build import build_network
from nnunet_mgcl.plan.plans import resolve_block

GROUPS = {"B": [2, 0], "A": [1]}
"""Two modalities; the first has two channels, not in order."""


@pytest.fixture
def make_network(plans: dict[str, Any], dataset_json: dict[str, Any]) -> Callable[..., MGCLNetwork]:
    def make(
        dimensions: int = 2,
        *,
        tss: dict[str, Any] | None = None,
        masks: bool = False,
        norm: str | None = None,
        deep_supervision: bool = False,
    ) -> MGCLNetwork:
        """`tss`: keys of its block, None without a head; `masks`: one target a modality; `norm`: e.g. BatchNorm."""
        own, labels = deepcopy(plans), deepcopy(dataset_json)
        name = "2d" if dimensions == 2 else "3d_fullres"
        block: dict[str, Any] = {"modalities": GROUPS, "tss": {"head": "mrff", **(tss or {})}}
        if masks:
            labels["labels"] = {"background": 0, "A": 1, "both": 2, "B": 3}
            block["lesion_labels"] = {"B": [2, 3], "A": [1, 2]}
        own["configurations"][name]["mgcl"] = block
        if norm:
            kwargs = own["configurations"][name]["architecture"]["arch_kwargs"]
            kwargs["norm_op"] = f"torch.nn.{norm}{dimensions}d"
        config = resolve_block(own, name, labels, tss_known=tss is not None)
        own["configurations"][name]["mgcl"] = config.model_dump(mode="json")
        manager = PlansManager(own)
        heads = manager.get_label_manager(labels).num_segmentation_heads
        torch.manual_seed(0)
        return build_network(manager.get_configuration(name), heads, deep_supervision)

    return make
