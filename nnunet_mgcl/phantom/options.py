"""What a user may choose about a phantom."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nnunet_mgcl.data.dataset_name import check_number_and_name, dataset_folder
from nnunet_mgcl.system.errors import UserError

PAPER_MATRIX = 512
"""Voxels along x and y in section 4.1 of the paper."""

LIMITS = {"cases": (1, 10**4), "unlabelled": (0, 10**5), "test": (0, 10**4), "seed": (0, 2**31), "matrix": (16, 1024),
          "slices": (4, 128)}  # fmt: skip


@dataclass(frozen=True)
class PhantomOptions:
    """What fixes a phantom: equal options give equal files.

    Attributes:
        cases: Labelled training cases.
        unlabelled: Cases of the pool.
        test: Labelled test cases.
        seed: Seed of everything random.
        matrix: Voxels along x and along y; the field of view stays the same.
        slices: Voxels along z; the height of the stack stays the same.
        lesion_masks: Folder of lesion masks in MNI space to take the strokes' shapes from; None: they are drawn.
        id: Number of the dataset.
        name: Its name.
    """

    cases: int = 24
    unlabelled: int = 40
    test: int = 4
    seed: int = 0
    matrix: int = 128
    slices: int = 18
    lesion_masks: Path | None = None
    id: int = 501
    name: str = "Phantom"

    @property
    def folder(self) -> str:
        """The dataset's folder, `DatasetXXX_Name`."""
        return dataset_folder(self.id, self.name)

    def noted(self) -> dict[str, Any]:
        """What a phantom's own files say about them; of the masks, whether there were any."""
        return asdict(self) | {"lesion_masks": self.lesion_masks is not None}


def check_options(options: PhantomOptions) -> None:
    """Refuses what cannot be drawn.

    Raises:
        UserError: A number is out of range, or the name is none.
    """
    for option, (low, high) in LIMITS.items():
        value = getattr(options, option)
        if not low <= value <= high:
            raise UserError(f"--{option}", str(value), f"{low} to {high}", "choose another number")
    check_number_and_name(options.id, options.name)
