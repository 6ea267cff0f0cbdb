"""How long `seed` trains: as long as the loss on left-out training cases falls, and no less than `seed.epochs`.

The search trains a network on the other cases and throws it away; the phase then trains on all cases for the length
that was found, with its own cosine. With five labelled cases a fifth is too much to do without.
"""

from __future__ import annotations

from functools import partial
from math import inf, isfinite
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_mgcl.data.cases.modality_dataset import ModalityDataset
from nnunet_mgcl.engine.branches import Branch
from nnunet_mgcl.engine.context import FoldContext
from nnunet_mgcl.engine.curves import Curves
from nnunet_mgcl.engine.datasets import labelled_dataset
from nnunet_mgcl.engine.loading import Sampling, iterations_per_epoch, open_batches
from nnunet_mgcl.engine.seeding import reseed
from nnunet_mgcl.engine.supervised_loss import as_target, supervised_loss, supervised_step
from nnunet_mgcl.engine.training_loop import Job, Observer, train
from nnunet_mgcl.pretraining.monitor.left_out import cases_left_out
from nnunet_mgcl.pretraining.monitor.samples import MOST_SLICES, MOST_VOLUMES, centre_samples, spread_slices
from nnunet_mgcl.system.files import read_json, write_json

PHASE = "seed_length"
FEWEST_CASES = 4
"""Labelled training cases from which on some are left out."""
LOOKS = 20
"""How often the loss is taken within `seed.epochs`."""
IMPROVEMENT = 0.005
"""By which a loss has to be lower to count."""
SHORTEST_PATIENCE = 5


def teacher_length(context: FoldContext, branch: Branch, seed: Any) -> int:
    """Epochs that `seed` trains a branch for: found once, then noted.

    Args:
        context: The phase's context.
        branch: The branch.
        seed: The phase's settings.
    """
    left_out = cases_left_out(context, branch, FEWEST_CASES, fewest_patients=1) if seed.stretch > 1 else []
    if not left_out:
        if seed.stretch > 1:
            context.log(f"seed {branch.name}: too few cases to leave one out, so it trains for {seed.epochs} epochs")
        return seed.epochs
    note = context.layout.phase(PHASE, branch.name) / "length.json"
    if not context.state.is_done(PHASE, branch.name):
        best, loss = _search(context, branch, seed, left_out)
        if context.is_first_rank:
            found = {"epochs": max(best, seed.epochs), "best": best, "loss": loss if isfinite(loss) else None}
            write_json(note, found | {"left_out": left_out})
        context.wait_for_all()
        context.state.mark_done(PHASE, branch.name)
    if context.is_first_rank:
        note.with_name("checkpoint_latest.pth").unlink(missing_ok=True)
    length = int(read_json(note)["epochs"])
    context.log(f"seed {branch.name}: {length} epochs by the loss on {len(left_out)} left-out training cases")
    return length


def _search(context: FoldContext, branch: Branch, seed: Any, left_out: list[str]) -> tuple[int, float]:
    """The best epoch and its loss on the cases left out."""
    reseed(context.config.random_seed, context.fold, PHASE, branch.name, "initialisation")
    unet = branch.build_unet()
    dataset = labelled_dataset(context, branch, [case for case in context.cases_of(branch) if case not in left_out])
    watch = LengthWatch(context, branch, seed.epochs, labelled_dataset(context, branch, left_out))
    train(
        context,
        Job(
            PHASE,
            branch.name,
            unet,
            seed,
            cosine=False,
            epochs=round(seed.stretch * seed.epochs),
            iterations=iterations_per_epoch(context, dataset, seed.batch_size),
            batches=partial(open_batches, context, branch, dataset, seed.batch_size, Sampling(regions=True)),
            step=partial(supervised_step, context, supervised_loss(context, branch)),
            observer=watch,
            block="seed",
            samples={"labelled": seed.batch_size * context.world_size},
        ),
    )
    return context.from_first_rank(watch.best), watch.lowest


class LengthWatch(Observer):
    """Notes the loss of cases left out, and says when it has stopped falling.

    Args:
        context: The phase's context.
        branch: The branch.
        epochs: The phase's shortest length, by which the intervals are chosen.
        left_out: The cases.
    """

    def __init__(self, context: FoldContext, branch: Branch, epochs: int, left_out: ModalityDataset) -> None:
        super().__init__()
        self.context, self.branch, self.left_out = context, branch, left_out
        self.interval, self.patience = max(1, epochs // LOOKS), max(SHORTEST_PATIENCE, epochs // 2)
        self.loss = supervised_loss(context, branch, over_ranks=False)
        self.notes: dict[str, Any] = {"epochs": [], "losses": []}

    @property
    def best(self) -> int:
        """The epoch of the lowest loss, as long as each step down was one; 0 before the first look."""
        return self._best()[0]

    @property
    def lowest(self) -> float:
        """The loss of that epoch."""
        return self._best()[1]

    def _best(self) -> tuple[int, float]:
        best, lowest = 0, inf
        for epoch, loss in zip(self.notes["epochs"], self.notes["losses"], strict=True):
            if isfinite(loss) and loss < lowest - IMPROVEMENT:
                best, lowest = epoch, loss
        return best, lowest

    def after_epoch(self, module: nn.Module, curve: list[float]) -> None:
        """Takes the loss every few epochs; in the first process alone, which decides for all."""
        if len(curve) % self.interval == 0 and self.context.is_first_rank:
            self.notes["epochs"].append(len(curve))
            self.notes["losses"].append(self._loss(module))

    def enough(self, curve: list[float]) -> bool:
        """Whether the loss has not become lower for long."""
        waited = bool(self.notes["epochs"]) and len(curve) - self.best >= self.patience
        return bool(self.context.from_first_rank(int(waited)))

    def text(self, curve: list[float]) -> str:
        """The last loss of the cases left out."""
        return f", left-out cases {self.notes['losses'][-1]:.4f}" if self.notes["losses"] else ""

    def draw(self, curves: Curves, finished: bool) -> None:
        """Draws that loss in a panel of its own."""
        if self.notes["losses"]:
            curves.update(
                f"{PHASE}_left_out",
                self.branch.name,
                self.notes["losses"],
                at=self.notes["epochs"],
                finished=finished,
                axes=("epoch", "loss of training cases left out"),
            )

    def _loss(self, module: nn.Module) -> float:
        context, size = self.context, self.branch.configuration.patch_size
        chosen = spread_slices(self.left_out, context.is_3d, MOST_VOLUMES if context.is_3d else MOST_SLICES)
        training, total, batches = module.training, 0.0, 0
        module.eval()
        with torch.no_grad():
            for _, image, mask in centre_samples(self.left_out, chosen, size):
                target: Tensor = as_target(mask, self.branch.label_manager)
                total += float(self.loss(module(image.to(context.device)), target.to(context.device)))
                batches += 1
        module.train(training)
        return total / batches
