"""What the user asks `mgcl convert` for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nnunet_mgcl.convert.settings import Settings
from nnunet_mgcl.data.dataset_name import dataset_folder


@dataclass(frozen=True)
class Options:
    """What the user asks for; `Settings` says more of what is the same for every case.

    Attributes:
        parent: Where the dataset's folder is, usually nnUNet_raw.
        id: Number of the dataset.
        name: Its name.
        settings: How cases are converted; its channels and modalities are those wanted, or empty, and its reference
            may be `none`.
        incomplete: What becomes of a row that lacks something.
        accept: Cases whose registration a person has found good.
        test: The rows are test cases of a dataset that is there.
        as_named: Channels whose names are right, though they look like misspelt kinds.
        processes: How many convert at a time.
    """

    parent: Path
    id: int
    name: str
    settings: Settings
    incomplete: Literal["refuse", "pool"] = "refuse"
    accept: Sequence[str] = ()
    test: bool = False
    processes: int = 1
    as_named: Sequence[str] = ()

    @property
    def folder(self) -> Path:
        """The dataset's folder."""
        return self.parent / dataset_folder(self.id, self.name)
