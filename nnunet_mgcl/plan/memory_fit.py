"""Fits a plan to the memory that nnU-Net planned for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from nnunet_mgcl.plan.memory import MemoryEstimate
from nnunet_mgcl.plan.plans import deep_merge, merged_block, resolve_block

SMALLEST_BATCH = 2
"""nnU-Net's own (`UNet_min_batch_size`)."""


def fit_to_memory(
    plans: dict[str, Any],
    configuration: str,
    planned: dict[str, Any],
    batch_was_chosen: bool,
    dataset_json: dict[str, Any],
    tss_known: bool,
    blocks: Collection[str],
) -> tuple[dict[str, Any], list[str]]:
    """Lowers what nobody chose until the branches together fit into the budget of one U-Net.

    Args:
        plans: Content of the plans file.
        configuration: Name of one of its configurations.
        planned: The plans that they were made from: what their network needs is the budget.
        batch_was_chosen: Whether a preset or the user set the configuration's batch size.
        dataset_json: Content of `dataset.json`.
        tss_known: Whether the dataset has a TSS table.
        blocks: Of the methods of the trainer that the plan is for.

    Returns:
        The plans, a deep copy where anything changes, and one line a phase on what was found and done.
    """
    fit = _Fit(plans, configuration, dataset_json, tss_known, blocks)
    if fit.estimate.unknown:
        return plans, [f"{configuration}: GPU memory not estimated, {fit.estimate.unknown}"]
    fit.budget = MemoryEstimate(planned, configuration, dataset_json, fit.estimate.config).budget
    lines = [fit.segment(batch_was_chosen)] if len(fit.estimate.config.modalities or {}) > 1 else []
    lines += filter(None, map(fit.phase, fit.estimate.phases))
    return fit.plans, [f"{configuration}: {line}" for line in lines]


class _Fit:
    budget: float

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        dataset_json: dict[str, Any],
        tss_known: bool,
        blocks: Collection[str],
    ) -> None:
        self.plans, self.configuration, self.blocks = plans, configuration, blocks
        self._dataset = dataset_json, tss_known
        self.estimate = self._estimated()

    def segment(self, batch_was_chosen: bool) -> str:
        """A smaller batch where nobody chose it and it suffices, else checkpointing, unless somebody said no."""
        before = self.estimate
        needed, batch = before.segment(), before.batch_size
        found = (
            f"segment, {len(before.config.modalities or {})} branches with batch_size {batch}: about {needed:.1f} GB "
            f"by nnU-Net's estimate, planned for {self.budget:.1f} GB"
        )
        if needed <= self.budget:
            return found
        smaller = None if batch_was_chosen else self._largest_batch(before.segment, batch)
        if smaller:
            self._change({"batch_size": smaller})
            return f"{found}; so configuration.batch_size={smaller}, about {self.estimate.segment():.1f} GB"
        if "checkpointing" not in merged_block(self.plans, self.configuration).get("segment", {}):
            self._change({"mgcl": {"segment": {"checkpointing": True}}})
            found = (
                f"{found}; so segment.checkpointing=true, about {self.estimate.segment():.1f} GB, by computing twice"
            )
        if self.estimate.segment() <= self.budget:
            return found
        return f"{found}; it does not fit, {self._advice('configuration.batch_size', self.estimate.segment, batch)}"

    def phase(self, phase: str) -> str | None:
        """A smaller batch where nobody chose it."""
        needs = partial(self.estimate.phase, phase)
        batch: int = getattr(self.estimate.config, phase).batch_size
        needed = needs(batch)
        if needed <= self.budget:
            return None
        found = f"{phase}, batch_size {batch}: about {needed:.1f} GB, planned for {self.budget:.1f} GB"
        chosen = merged_block(self.plans, self.configuration).get(phase, {}).get("batch_size") is not None
        smaller = None if chosen else self._largest_batch(needs, batch)
        if smaller:
            self._change({"mgcl": {phase: {"batch_size": smaller}}})
            return f"{found}; so {phase}.batch_size={smaller}, about {needs(smaller):.1f} GB"
        return f"{found}; it does not fit, {self._advice(f'{phase}.batch_size', needs, batch)}"

    def _largest_batch(self, needs: Callable[[int], float], batch: int) -> int | None:
        """By bisection, since what a phase needs grows with its batch."""
        fitting = bisect_right(range(SMALLEST_BATCH, batch + 1), self.budget, key=needs)
        return SMALLEST_BATCH + fitting - 1 if fitting else None

    def _advice(self, key: str, needs: Callable[[int], float], batch: int) -> str:
        fitting = self._largest_batch(needs, batch)
        return f"--set {key}={fitting} would" if fitting else "a GPU with more memory would"

    def _change(self, overlay: dict[str, Any]) -> None:
        self.plans = deep_merge(self.plans, {"configurations": {self.configuration: overlay}})
        self.estimate = self._estimated()

    def _estimated(self) -> MemoryEstimate:
        dataset_json, tss_known = self._dataset
        config = resolve_block(self.plans, self.configuration, dataset_json, tss_known, blocks=self.blocks)
        return MemoryEstimate(self.plans, self.configuration, dataset_json, config)
