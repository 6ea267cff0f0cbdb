"""How much GPU memory the phases need, by nnU-Net's own estimate scaled to what they train. Nothing is measured.

nnU-Net's planners count the voxels of all feature maps of one U-Net and compare them with a network of which they know
that it takes so many GB with batches of so many samples (`ExperimentPlanner.get_plans_for_configuration`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_mgcl.network.branch import build_branch
from nnunet_mgcl.plan.config import BLOCKS, MGCLConfig, PhaseSettings
from nnunet_mgcl.plan.dataset_json import channel_names


@dataclass(frozen=True)
class Reference:
    """What a planner of nnU-Net compares with: `UNet_reference_val_2d`, `_3d` and `_corresp_GB`."""

    voxels_2d: int
    voxels_3d: int
    gigabytes: int


_DEFAULT = Reference(85_000_000, 560_000_000, 8)
_RESENC_M = Reference(135_000_000, 680_000_000, 8)
_RESENC_L = Reference(380_000_000, 2_100_000_000, 24)
_RESENC_XL = Reference(560_000_000, 3_600_000_000, 40)

PLANNERS = {
    "ExperimentPlanner": _DEFAULT,
    "nnUNetPlanner_torchres": _DEFAULT,
    "ResEncUNetPlanner": _RESENC_M,
    "nnUNetPlannerResEncM": _RESENC_M,
    "nnUNetPlannerResEncL": _RESENC_L,
    "nnUNetPlannerResEncL_torchres": _RESENC_L,
    "nnUNetPlannerResEncL_torchres_sepz": _RESENC_L,
    "nnUNetPlannerResEncL_noResampling": _RESENC_L,
    "nnUNetPlannerResEncXL": _RESENC_XL,
}
"""By `experiment_planner_used` of a plans file."""

REFERENCE_BATCH = {2: 12, 3: 2}
"""`UNet_reference_val_corresp_bs_2d` and `_3d` of every planner."""


@dataclass(frozen=True)
class Voxels:
    """Voxels of a U-Net's feature maps of one sample."""

    encoder: int
    decoder: int

    @property
    def both(self) -> int:
        """Those of the whole U-Net."""
        return self.encoder + self.decoder


class MemoryEstimate:
    """GB of GPU memory that the phases of one configuration need.

    Args:
        plans: Content of the plans file.
        configuration: Name of one of its configurations.
        dataset_json: Content of `dataset.json`.
        config: Its resolved `mgcl` block.
    """

    def __init__(
        self, plans: dict[str, Any], configuration: str, dataset_json: dict[str, Any], config: MGCLConfig
    ) -> None:
        self.plans, self.configuration, self.config = plans, configuration, config
        self._manager = PlansManager(plans)
        self._plan = self._manager.get_configuration(configuration)
        self._channels = len(channel_names(dataset_json))
        self._heads = self._manager.get_label_manager(dataset_json).num_segmentation_heads
        self.batch_size: int = self._plan.batch_size
        self._voxels = cache(self._count)  # by the number of channels

    @cached_property
    def unknown(self) -> str | None:
        """Why nothing can be estimated; None where it can."""
        planner = self.plans.get("experiment_planner_used")
        if planner not in PLANNERS:
            return f"the planner {planner} is unknown"
        if self._voxels(1) is None:
            return f"{self._plan.network_arch_class_name} does not count its feature maps"
        return None

    @cached_property
    def budget(self) -> float:
        """What nnU-Net planned for: its planner's target, or what its own network needs where that is more."""
        own = self._voxels(self._channels)
        assert own is not None
        return max(self._reference.gigabytes, self._gigabytes(own.both, self.batch_size))

    def segment(self, batch_size: int | None = None) -> float:
        """All branches; with checkpointing one at a time."""
        together = max if self.config.segment.checkpointing else sum
        return self._gigabytes(together(voxels.both for voxels in self._branches), batch_size or self.batch_size)

    def phase(self, block: str, batch_size: int | None = None) -> float:
        """A phase of one branch: the parts of a U-Net that its method trains; others are frozen, and losses small."""
        trains, settings = BLOCKS[block].trains, self.config.blocks()[block]
        assert isinstance(settings, PhaseSettings) and settings.batch_size
        samples = BLOCKS[block].views * (batch_size or settings.batch_size)
        counted = [("encoder" in trains) * v.encoder + ("decoder" in trains) * v.decoder for v in self._branches]
        return self._gigabytes(max(counted), samples)

    @property
    def phases(self) -> list[str]:
        """The blocks of the phases that train parts of a U-Net."""
        return [name for name in self.config.blocks() if BLOCKS[name].trains]

    def warning(self, batch_size: int) -> str | None:
        """One line where the branches need more than was planned for.

        Args:
            batch_size: Samples on this GPU.
        """
        if self.unknown or self.segment(batch_size) <= self.budget:
            return None
        return (
            f"segment needs about {self.segment(batch_size):.1f} GB of GPU memory by nnU-Net's estimate, planned for "
            f"{self.budget:.1f} GB; mgcl plan makes a plan that fits"
        )

    def plan_command(self, settings: Mapping[str, Any], suffix: str) -> str:
        """`mgcl plan ... --set ...`, and what to train with afterwards: a remedy that works as typed.

        Args:
            settings: Keys as `mgcl plan --set` names them, with their new values.
            suffix: Of the new plan's name.
        """
        values = " ".join(f"{key}={value}" for key, value in settings.items())
        name, dataset = self.plans["plans_name"], self.plans["dataset_name"]
        command = f"mgcl plan -d {dataset} -c {self.configuration} -p {name} --set {values} -o {name}_{suffix}"
        return f"{command}, then train with -p {name}_{suffix}"

    @property
    def _reference(self) -> Reference:
        return PLANNERS[self.plans["experiment_planner_used"]]

    @cached_property
    def _branches(self) -> list[Voxels]:
        assert self.config.modalities is not None
        counted = [self._voxels(len(channels)) for channels in self.config.modalities.values()]
        return [voxels for voxels in counted if voxels is not None]

    def _count(self, channels: int) -> Voxels | None:
        with torch.device("meta"):  # no weights
            unet = build_branch(self._plan, channels, self._heads, deep_supervision=False)
        parts = (getattr(unet, name, None) for name in ("encoder", "decoder"))
        counts = [getattr(part, "compute_conv_feature_map_size", None) for part in parts]
        return None if None in counts else Voxels(*(int(count(self._plan.patch_size)) for count in counts if count))

    def _gigabytes(self, voxels: int, batch_size: int) -> float:
        dimensions = len(self._plan.patch_size)
        reference = self._reference.voxels_2d if dimensions == 2 else self._reference.voxels_3d
        return voxels / reference * batch_size / REFERENCE_BATCH[dimensions] * self._reference.gigabytes
