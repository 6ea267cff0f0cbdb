"""Every path of the plugin, once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunetv2.paths import nnUNet_preprocessed, nnUNet_raw
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name

from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import is_there
from nnunet_mgcl.system.names import is_name


def dataset_name(name_or_id: str | int) -> str:
    """The dataset's `DatasetXXX_Name`, found as nnU-Net's commands do.

    Raises:
        UserError: It is no name or number, or there is no such dataset, or several.
    """
    text = str(name_or_id)
    if not re.fullmatch(r"[0-9]{1,9}", text) and not (re.match("Dataset[0-9]{3}", text) and is_name(text)):
        found = "neither an integer nor a dataset's name"
        raise UserError(f"dataset {text}", found, "a number, or DatasetXXX_Name", "check -d")
    try:
        return str(maybe_convert_to_dataset_name(name_or_id))
    except RuntimeError as error:
        expected = "one DatasetXXX_Name folder in nnUNet_raw, nnUNet_preprocessed or nnUNet_results"
        remedy = "check the number and the nnUNet_* variables"
        raise UserError(f"dataset {text}", str(error).strip(), expected, remedy) from None


@dataclass(frozen=True)
class DatasetLayout:
    """The folders of one dataset.

    Attributes:
        name: `DatasetXXX_Name`.
        raw: Its folder in nnUNet_raw; None where that variable is not set (training machines often lack it).
        preprocessed: Its folder in nnUNet_preprocessed.
    """

    name: str
    raw: Path | None
    preprocessed: Path

    @classmethod
    def find(cls, dataset_name_or_id: str | int) -> DatasetLayout:
        """Finds a dataset as nnU-Net's commands do, by name or number.

        Raises:
            UserError: nnUNet_preprocessed is not set, or there is no such dataset.
        """
        if not nnUNet_preprocessed.is_set():
            raise UserError("nnUNet_preprocessed", "not set", "a folder", "export nnUNet_preprocessed=<folder>")
        name = dataset_name(dataset_name_or_id)
        raw = Path(nnUNet_raw.require()) / name if nnUNet_raw.is_set() else None
        layout = cls(name, raw, Path(nnUNet_preprocessed.require()) / name)
        if not is_there(layout.preprocessed, "folder"):
            remedy = "check the name and the nnUNet_* variables"
            if raw is not None and raw.is_dir():
                remedy = f"nnUNetv2_plan_and_preprocess -d {layout.number}"
            expected = "the dataset as nnU-Net has planned it"
            raise UserError(layout.preprocessed, "no such folder", expected, remedy)
        return layout

    @property
    def number(self) -> str:
        """The dataset's number, which is all that some of nnU-Net's commands take."""
        return self.name.removeprefix("Dataset").split("_")[0]

    @property
    def raw_tss(self) -> Path | None:
        """`tss.csv` as the user wrote it."""
        return self.raw / "tss.csv" if self.raw else None

    @property
    def raw_unlabelled(self) -> Path | None:
        """The unlabelled pool as the user wrote it."""
        return self.raw / "imagesUn" if self.raw else None

    @property
    def raw_dataset_json(self) -> Path | None:
        """`dataset.json` as the user wrote it."""
        return self.raw / "dataset.json" if self.raw else None

    @property
    def tss(self) -> Path:
        """The validated copy of `tss.csv` that training reads."""
        return self.preprocessed / "tss.csv"

    @property
    def dataset_json(self) -> Path:
        """nnU-Net's copy of `dataset.json`, which training reads."""
        return self.preprocessed / "dataset.json"

    @property
    def splits(self) -> Path:
        """nnU-Net's cross-validation split."""
        return self.preprocessed / "splits_final.json"

    def plans(self, plans_name: str) -> Path:
        """A plans file by its name."""
        return self.preprocessed / f"{plans_name}.json"

    def unlabelled(self, data_identifier: str, modality: str | None = None) -> Path:
        """The preprocessed pool, whole or of one modality."""
        pool = self.preprocessed / f"{data_identifier}_unlabelled"
        return pool / modality if modality else pool


def validation_name(without: Sequence[str]) -> str:
    """The folder of a fold's predicted validation cases: nnU-Net's, or those without some modalities."""
    return f"validation_without_{'_'.join(without)}" if without else "validation"


@dataclass(frozen=True)
class FoldLayout:
    """The folders of one trained fold, `<Trainer>__<plans>__<configuration>/fold_N`."""

    root: Path

    @property
    def phases(self) -> Path:
        """What the phases before `segment` and the phase `tss` leave."""
        return self.root / "phases"

    @property
    def state(self) -> Path:
        """Which phase and epoch is done; drives resume."""
        return self.phases / "state.json"

    @property
    def inputs(self) -> Path:
        """What the fold was begun with."""
        return self.phases / "inputs.json"

    def pool_listing(self, modality: str) -> Path:
        """The pool cases of one modality that it was begun with."""
        return self.phases / "pool" / f"{modality}.txt"

    @property
    def versions(self) -> Path:
        """The versions that it was trained with, one entry where they never changed."""
        return self.phases / "versions.json"

    @property
    def progress(self) -> Path:
        """The phases' curves as one picture."""
        return self.phases / "progress.png"

    @property
    def costs(self) -> Path:
        """What the parts of the training cost."""
        return self.phases / "costs.json"

    @property
    def warnings(self) -> Path:
        """What went wrong in training without ending it."""
        return self.phases / "warnings.json"

    @property
    def validation(self) -> Path:
        """nnU-Net's validation folder."""
        return self.root / "validation"

    def phase(self, name: str, modality: str | None = None) -> Path:
        """The folder of one phase, or of one branch in it."""
        return self.phases / name / modality if modality else self.phases / name

    def pseudo_labels(self, round_: int, modality: str) -> Path:
        """The pseudo-labels of one modality after round 1 or 2."""
        return self.phase(f"pseudo_label_{round_}", modality)


def folds_of(model: Path) -> list[FoldLayout]:
    """The folds of a results folder that were begun, by name."""
    return [FoldLayout(path) for path in sorted(model.glob("fold_*")) if path.is_dir()]


def models_with(dataset: Path, files: str) -> list[str]:
    """The models in a dataset's results folder that have files of a pattern, by name."""
    return sorted(path.name for path in dataset.glob("*__*__*") if any(path.glob(files)))
