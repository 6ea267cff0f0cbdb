"""What a TSS classifier is: the contract of the files of this folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch

from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.tss.classifiers.cases import Cases

Masks = Literal["none", "predicted", "true"]


@dataclass(frozen=True)
class TrainingCase:
    """A case to learn from.

    Attributes:
        name: The case.
        positive: Whether its TSS < 4.5 h.
        patient: Whose it is.
    """

    name: str
    positive: bool
    patient: str


@dataclass(frozen=True)
class Settings:
    """What a user may choose for one fold's classifier.

    Attributes:
        seed: Everything that is random starts from it, from the method's name and from the fold.
        fold: The fold.
        shared: A folder for what all folds share.
        device: Where a network computes.
        epochs: Of a network; None: its default.
        lr: Learning rate of a network; None: its default.
    """

    seed: int
    fold: int
    shared: Path
    device: torch.device
    epochs: int | None = None
    lr: float | None = None


class Classifier(ABC):
    """Learns from a fold's training cases whether TSS < 4.5 h. It never sees a validation case before it is asked.

    Args:
        cases: Reads images and masks.
        settings: The user's choices.
    """

    name: ClassVar[str]
    masks: ClassVar[Masks] = "none"
    """Which lesion masks it reads: none, those that a segmentation model predicts, or the true ones."""

    steps = samples = 0
    """Of an optimiser, and images that it saw; noted once trained."""

    def __init__(self, cases: Cases, settings: Settings) -> None:
        self.cases, self.settings = cases, settings

    @abstractmethod
    def fit(self, cases: Sequence[TrainingCase]) -> None:
        """Learns from a fold's training cases.

        Raises:
            UserError: They are too few, or cannot be read.
        """

    @abstractmethod
    def probability(self, case: str) -> float:
        """The probability of TSS < 4.5 h of any case."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Leaves what was learned in a folder that is there."""

    def too_few(self, cases: Sequence[TrainingCase]) -> UserError:
        """The refusal of a fold that does not have what the method needs of each class."""
        positive = sum(case.positive for case in cases)
        found = f"{len(cases)} training cases with a known TSS, {positive} of them < 4.5 h"
        expected = "two patients of each class at least"
        return UserError(f"{self.name}, fold {self.settings.fold}", found, expected, "add rows to tss.csv")

    def remarks(self) -> list[str]:
        """What the log says once the fold's validation cases have been asked."""
        return []
