"""Whether a contrastive phase learns: its loss between chance and floor, and kNN of samples left out of its batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite, nan
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from nnunet_mgcl.data.cases.modality_dataset import ModalityDataset
from nnunet_mgcl.engine.branches import Branch
from nnunet_mgcl.engine.context import FoldContext
from nnunet_mgcl.engine.curves import Curves
from nnunet_mgcl.engine.training_loop import Observer
from nnunet_mgcl.losses import contrast_chance, contrast_floor
from nnunet_mgcl.pretraining.monitor.left_out import patient_of
from nnunet_mgcl.pretraining.monitor.neighbours import balanced_accuracy, why_undefined
from nnunet_mgcl.pretraining.monitor.probes import Probe
from nnunet_mgcl.pretraining.monitor.samples import MOST_SLICES, MOST_VOLUMES, centre_samples, represent, spread_slices
from nnunet_mgcl.pretraining.monitor.warning_signs import Outcome

MOST_SAMPLES = 600
"""That are compared each time."""
TIMES = 5
"""How often, besides the start."""


class ContrastWatch(Observer):
    """Notes chance and floor of every epoch's batches, and the kNN balanced accuracy of samples left out of them.

    Args:
        context: The phase's context.
        phase: Its name.
        branch: The branch.
        epochs: Of the phase.
        temperature: tau.
        left_out: Labelled training cases that are in no batch; None where none could be spared.
        untrained: Makes what the phase trains from He initialisation alone, to compare with.
    """

    def __init__(
        self,
        context: FoldContext,
        phase: str,
        branch: Branch,
        epochs: int,
        temperature: float,
        left_out: ModalityDataset | None,
        untrained: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        self.context, self.name, self.branch, self.temperature = context, (phase, branch.name), branch, temperature
        self.left_out, self.new = left_out, untrained
        self.due = {round(epochs * time / TIMES) for time in range(TIMES + 1)}
        self.notes: dict[str, Any] = {"chance": [], "floor": [], "epochs": [], "knn": []}
        self._batches: list[tuple[float, float]] = []

    def note_batch(self, counts: Sequence[int]) -> None:
        """Takes the class counts of a batch that teaches something."""
        self._batches.append((contrast_chance(counts), contrast_floor(counts, self.temperature)))

    def before(self, module: nn.Module) -> None:
        """Measures kNN of an untrained network, and of the one that the phase starts from."""
        if self.left_out is None or not self.context.is_first_rank:
            return
        with torch.random.fork_rng(devices=[]):  # looking changes nothing of the training
            new = self.new().to(self.context.device)
        if (found := self._knn(new)) is None:
            return
        knn, samples, lesions = found
        self.notes["untrained"] = knn
        self._look(module, 0)
        phase, branch = self.name
        self.context.log(
            f"{phase} {branch}: kNN of {samples} samples ({lesions} with lesion) of {len(self.left_out.identifiers)} "
            f"training cases left out of its batches; untrained {knn:.2f}, at its start {self.notes['knn'][0]:.2f}"
        )

    def after_epoch(self, module: nn.Module, curve: list[float]) -> None:
        """Bounds of the epoch's mean loss and, every few epochs, kNN."""
        chance, floor = np.mean(self._batches, axis=0) if self._batches else (nan, nan)
        self._batches = []
        for key, value in (("chance", chance), ("floor", floor)):
            missing = len(curve) - 1 - len(self.notes[key])  # epochs of an older version
            self.notes[key] += [nan] * missing + [float(value)]
        self._look(module, len(curve))

    def outcome(self, curve: list[float]) -> Outcome:
        """Where the phase stands."""
        knn = self.notes["knn"]
        neighbours = (knn[0], knn[-1]) if self.notes["epochs"][:1] == [0] and len(knn) > 1 else None
        chance, floor = ((self.notes[key] or [nan])[-1] for key in ("chance", "floor"))  # none of an older version
        return Outcome(curve[-1], chance, floor, neighbours, self.untrained)

    def text(self, curve: list[float]) -> str:
        """Chance, floor and kNN, in brackets behind the loss."""
        parts = []
        if self.notes["chance"] and isfinite(self.notes["chance"][-1]):
            parts.append(f" (chance {self.notes['chance'][-1]:.4f}, floor {self.notes['floor'][-1]:.4f}")
            way = self.outcome(curve).progress
            parts.append(f"; {100 * way:.0f} % of the way)" if way is not None else ")")
        if self.notes["epochs"] and self.notes["epochs"][-1] == len(curve):
            parts.append(f", kNN {self.notes['knn'][-1]:.2f}")
            if self.untrained is not None:
                parts.append(f" (untrained {self.untrained:.2f})")
        return "".join(parts)

    def beside(self) -> dict[str, list[float]]:
        """Chance and floor."""
        return {key: self.notes[key] for key in ("chance", "floor")}

    def draw(self, curves: Curves, finished: bool) -> None:
        """Draws kNN in a panel of its own."""
        if self.notes["knn"]:
            phase, branch = self.name
            axes = ("epoch", "kNN balanced accuracy")
            curves.update(
                f"{phase}_knn", branch, self.notes["knn"], at=self.notes["epochs"], finished=finished, axes=axes
            )

    @property
    def untrained(self) -> float | None:
        """The untrained network's kNN, where it is known."""
        return self.notes.get("untrained")

    def _look(self, module: nn.Module, epoch: int) -> None:
        if epoch in self.due and (found := self._knn(module)) is not None:
            self.notes["epochs"].append(epoch)
            self.notes["knn"].append(found[0])

    def _knn(self, module: nn.Module) -> tuple[float, int, int] | None:
        """Balanced accuracy, and the numbers of samples and of those with lesion; None where there is none.

        The first process alone looks; nothing here waits for the others.
        """
        if self.left_out is None or not self.context.is_first_rank:
            return None
        context, dataset = self.context, self.left_out
        chosen = spread_slices(dataset, context.is_3d, MOST_VOLUMES if context.is_3d else MOST_SLICES)
        batches = centre_samples(dataset, chosen, self.branch.configuration.patch_size)
        training = module.training
        samples = represent(
            {"now": cast("Probe", module.eval())}, batches, context.device, MOST_SAMPLES, context.config.random_seed
        )
        module.train(training)
        patients = np.array([patient_of(context, case) for case in samples.cases])
        if reason := why_undefined(samples.lesion, patients):
            context.log(f"{self.name[0]} {self.name[1]}: no kNN accuracy of the training cases left out, {reason}")
            self.left_out = None
            return None
        knn = balanced_accuracy(samples.representations["now"], samples.lesion, patients)
        return knn, len(patients), int(samples.lesion.sum())
