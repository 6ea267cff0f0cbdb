"""Labelled cases that lack a modality: `mgcl.missing` of `dataset.json`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nnunet_mgcl.plan.dataset_json import BOTH_COPIES
from nnunet_mgcl.system.errors import UserError, some, suggestion

REMEDY = "mend mgcl.missing in the file, and in its copy in nnUNet_preprocessed"


@dataclass(frozen=True)
class Incomplete:
    """Which modalities labelled cases have.

    An empty image stands in for a missing one, since nnU-Net counts channels; nothing may learn from it.

    Attributes:
        modalities: All of the model, in their order.
        missing: Case -> modalities that it lacks; other cases have all.
    """

    modalities: Sequence[str] = ()
    missing: Mapping[str, Collection[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, dataset_json: Mapping[str, Any], modalities: Iterable[str]) -> Incomplete:
        """What a content of `dataset.json` says."""
        return cls(list(modalities), (dataset_json.get("mgcl") or {}).get("missing") or {})

    def __bool__(self) -> bool:
        return bool(self.missing)

    def has(self, case: str, modality: str) -> bool:
        """Whether a case has a modality."""
        return modality not in self.missing.get(case, ())

    def present(self, case: str) -> list[int]:
        """Numbers of the modalities that a case has."""
        return [number for number, name in enumerate(self.modalities) if self.has(case, name)]

    def lacking(self, case: str) -> list[str]:
        """The modalities that a case lacks, in their order."""
        return [name for name in self.modalities if not self.has(case, name)]

    def mask(self, case: str, modalities: Iterable[str] | None = None) -> Tensor:
        """Whether a case has each of some modalities, `(M,)` bool; None: of all."""
        return torch.tensor([self.has(case, name) for name in modalities or self.modalities])

    def with_all(self, cases: Iterable[str], modalities: Iterable[str]) -> list[str]:
        """Those of some cases that have some modalities."""
        wanted = list(modalities)
        return [case for case in cases if all(self.has(case, name) for name in wanted)]

    def check(self, cases: Collection[str]) -> None:
        """Compares it with the dataset.

        Raises:
            UserError: It names an unknown case or modality, or a case that has none.
        """
        for case, names in self.missing.items():
            where = f"{BOTH_COPIES}: mgcl.missing"
            if case not in cases:
                remedy = suggestion(case, cases, REMEDY)
                raise UserError(where, f"{case}, which is no labelled case", "preprocessed labelled cases", remedy)
            if unknown := sorted({*names} - {*self.modalities}):
                remedy = suggestion(unknown[0], self.modalities, REMEDY)
                raise UserError(f"{where}, {case}", some(unknown), f"some of {', '.join(self.modalities)}", remedy)
            if not self.present(case):
                raise UserError(f"{where}, {case}", "every modality", "one at least that it has", REMEDY)
