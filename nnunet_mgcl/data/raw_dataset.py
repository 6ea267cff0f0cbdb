"""A raw dataset as Python reads it: its labelled, test and pool cases, with files and times since onset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json
from nnunetv2.paths import nnUNet_raw
from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

from nnunet_mgcl.data.cases.incomplete import Incomplete
from nnunet_mgcl.data.images.files import read_images
from nnunet_mgcl.data.layout import dataset_name
from nnunet_mgcl.data.pool.scan import channel_files
from nnunet_mgcl.data.tss_table import TSSTable, read_tss_table
from nnunet_mgcl.plan.dataset_json import channel_names, label_targets, read_dataset_json
from nnunet_mgcl.plan.grouping import one_branch_a_channel
from nnunet_mgcl.system.errors import UserError, reason
from nnunet_mgcl.system.files import is_there

Spacing = tuple[float, float, float]
REMEDY = "restore the file, or remove the case"


@dataclass(frozen=True)
class Case:
    """One case of a dataset.

    Attributes:
        name: Its name.
        images: File of each channel that it has by its number; a case of the pool may lack any.
        label: File of its label map; None without one.
        tss_hours: Time since stroke onset in hours; None where unknown or known as a class only.
        tss_class: 1 (TSS < 4.5 h) or 0; None where unknown.
        patient: Its patient; the case itself where the table names none.
        missing: Modalities that a labelled case lacks (`mgcl.missing`).
    """

    name: str
    images: dict[int, Path]
    label: Path | None = None
    tss_hours: float | None = None
    tss_class: int | None = None
    patient: str = ""
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """A raw dataset; `read_dataset` finds it, `build_dataset` writes one.

    Attributes:
        folder: Where it lies.
        dataset_json: The content of its `dataset.json`.
        training: The labelled cases (`imagesTr`, `labelsTr`, `tss.csv`), sorted by name.
        test: Those of `imagesTs`, with the labels of `labelsTs` where there are any.
        pool: Those of the unlabelled pool, `imagesUn`.
    """

    folder: Path
    dataset_json: dict[str, Any]
    training: list[Case]
    test: list[Case]
    pool: list[Case]

    @property
    def channels(self) -> dict[int, str]:
        """Number and name of each channel."""
        return channel_names(self.dataset_json)

    @property
    def targets(self) -> dict[str, list[int]]:
        """The labels that make up each target: a modality's lesion, or a label or region."""
        return label_targets(self.dataset_json)

    def read_image(self, case: Case) -> tuple[npt.NDArray[np.floating], Spacing]:
        """Reads a case with nnU-Net's reader.

        Returns:
            The channels that it has, `(C, Z, Y, X)` in the order of their numbers, and the edges of a voxel (z, y, x)
            in mm: what `Model.predict` takes.

        Raises:
            UserError: A file cannot be read, or the files do not lie on one grid.
        """
        files = list(case.images.values())
        image, properties = read_images(self._reader(files[0]), files, REMEDY)
        return image, _edges(properties)

    def read_label(self, case: Case) -> npt.NDArray[np.integer]:
        """Reads a case's label map `(Z, Y, X)`.

        Raises:
            UserError: It has none, or the file cannot be read.
        """
        if case.label is None:
            raise UserError(f"case {case.name}", "no label map", "a labelled case", "ask case.label before")
        try:
            return self._reader(case.label)().read_seg(str(case.label))[0][0].astype(int)
        except Exception as error:  # every reader raises exceptions of its own
            found = f"cannot be read ({reason(error)})"
            raise UserError(case.label, found, "an intact label map", REMEDY) from None

    def _reader(self, file: Path) -> Any:
        return determine_reader_writer_from_dataset_json(self.dataset_json, str(file), verbose=False)


def read_dataset(dataset: str | PathLike[str] | int) -> Dataset:
    """Finds the cases of a raw dataset; no image is read.

    Args:
        dataset: Its folder, or its number or name in `nnUNet_raw`.

    Raises:
        UserError: There is no such dataset, or its `dataset.json`, its `tss.csv` or a case's files are wrong.
    """
    folder = Path(dataset) if not isinstance(dataset, int) and Path(dataset).is_dir() else None
    if folder is None and (isinstance(dataset, PathLike) or len(Path(str(dataset)).parts) > 1):
        raise UserError(Path(str(dataset)), "no such folder", "a raw dataset, DatasetXXX_Name", "check the path")
    folder = folder or raw_folder(str(dataset))
    dataset_json = read_dataset_json(folder / "dataset.json")
    files = _training_files(folder, dataset_json)
    table = read_tss_table(folder / "tss.csv", files) if is_there(folder / "tss.csv") else TSSTable({})
    groups = (dataset_json.get("mgcl") or {}).get("modalities") or one_branch_a_channel(dataset_json)
    incomplete = Incomplete.of(dataset_json, groups)
    test, ending = _complete(folder / "imagesTs", dataset_json), dataset_json["file_ending"]
    labels = {name: _label(folder / "labelsTs" / f"{name}{ending}") for name in test}
    return Dataset(
        folder,
        dataset_json,
        [_training_case(name, images, label, table, incomplete, groups) for name, (images, label) in files.items()],
        [Case(name, images, labels[name], patient=name) for name, images in test.items()],
        [Case(name, images, patient=name) for name, images in _files(folder / "imagesUn", dataset_json).items()],
    )


def raw_folder(dataset: str, remedy: str = "export nnUNet_raw=<folder>") -> Path:
    """The folder of a dataset in nnUNet_raw.

    Raises:
        UserError: nnUNet_raw is not set, for which there is this remedy; or there is no such dataset.
    """
    if not nnUNet_raw.is_set():
        raise UserError("nnUNet_raw", "not set", "a folder", remedy)
    return Path(nnUNet_raw.require()) / dataset_name(dataset)


def _training_files(folder: Path, dataset_json: dict[str, Any]) -> dict[str, tuple[dict[int, Path], Path]]:
    """Images and label map of each labelled case, which `dataset.json` may list."""
    if "dataset" in dataset_json:
        listed = get_filenames_of_train_images_and_targets(str(folder), dataset_json)
        return {
            name: (dict(enumerate(map(Path, case["images"]))), Path(case["label"]))
            for name, case in sorted(listed.items())
        }
    labels, ending, found = folder / "labelsTr", dataset_json["file_ending"], {}
    for name, images in _complete(folder / "imagesTr", dataset_json).items():
        if (label := _label(labels / f"{name}{ending}")) is None:
            raise UserError(labels, f"no {name}{ending}", "a label map for each case of imagesTr", REMEDY)
        found[name] = images, label
    return found


def _training_case(
    name: str, images: dict[int, Path], label: Path, table: TSSTable, incomplete: Incomplete,
    groups: Mapping[str, Sequence[int]],
) -> Case:  # fmt: skip
    positive, missing = table.positive(name), tuple(incomplete.lacking(name))
    empty = {channel for modality in missing for channel in groups[modality]}
    return Case(
        name,
        {number: path for number, path in images.items() if number not in empty},
        label,
        table.hours(name),
        None if positive is None else int(positive),
        table.patient(name),
        missing,
    )


def _complete(folder: Path, dataset_json: dict[str, Any]) -> dict[str, dict[int, Path]]:
    """The cases of a folder, of which each must have all channels."""
    known, cases = channel_names(dataset_json), _files(folder, dataset_json)
    for name, images in cases.items():
        if list(images) != list(known):
            found = f"channels {list(images)}"
            raise UserError(f"{folder}, case {name}", found, f"{known}", "add, rename or remove its files")
    return cases


def _files(folder: Path, dataset_json: dict[str, Any]) -> dict[str, dict[int, Path]]:
    if not is_there(folder, "folder"):
        return {}
    cases = channel_files(sorted(folder.glob(f"*{dataset_json['file_ending']}")), dataset_json)
    return {name: dict(sorted(cases[name].items())) for name in sorted(cases)}


def _label(path: Path) -> Path | None:
    return path if is_there(path) else None


def _edges(properties: dict[str, Any]) -> Spacing:
    z, y, x = map(float, properties["spacing"])
    return z, y, x
