"""Writes synthetic patients as a raw nnU-Net dataset with an unlabelled pool and times since onset."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunet_mgcl.data.bit_mask import label_names, lesion_labels
from nnunet_mgcl.errors import UserError
from nnunet_mgcl.files import read_json, write_json, write_text
from nnunet_mgcl.phantom.anatomy import Grid
from nnunet_mgcl.phantom.lesion import draw_hours
from nnunet_mgcl.phantom.patient import Patient, draw_patient
from nnunet_mgcl.phantom.signal import MODALITIES

FILE_ENDING = ".nii.gz"
DESCRIPTION = (
    "SYNTHETIC. Drawn by `mgcl phantom` from ellipses and noise to try the software out; no patient, no "
    "scanner. Results on it say nothing about clinical performance."
)
MIN_SIZE = (16, 16, 4)


@dataclass(frozen=True)
class PhantomOptions:
    """What fixes a phantom: equal options give equal files.

    Attributes:
        cases: Labelled training cases.
        unlabelled: Cases of the pool.
        test: Labelled test cases.
        seed: Seed of everything random.
        size: `(X, Y, Z)` in voxels; the field of view stays the same.
        id: Number of the dataset.
        name: Its name.
    """

    cases: int = 24
    unlabelled: int = 40
    test: int = 4
    seed: int = 0
    size: tuple[int, int, int] = (64, 64, 12)
    id: int = 501
    name: str = "Phantom"

    @property
    def folder(self) -> str:
        """The dataset's folder, `DatasetXXX_Name`."""
        return f"Dataset{self.id:03d}_{self.name}"

    @property
    def grid(self) -> Grid:
        """The voxels of every image."""
        return Grid.fitting_the_head(self.size)


@dataclass(frozen=True)
class Case:
    """A case to draw: its name, where its numbers come from, and which modalities it has."""

    name: str
    stream: tuple[int, int]
    hours: float
    modalities: tuple[str, ...] = MODALITIES

    def draw(self, options: PhantomOptions) -> Patient:
        """Draws the patient; each has a seed of its own, so more cases leave the first ones as they are."""
        return draw_patient(options.grid, self.hours, _rng(options, *self.stream), self.modalities)


def training_cases(options: PhantomOptions) -> list[Case]:
    """The labelled training cases."""
    return _labelled_cases(options, "phantom", options.cases, stream=1)


def test_cases(options: PhantomOptions) -> list[Case]:
    """The labelled test cases."""
    return _labelled_cases(options, "phantom_test", options.test, stream=2)


def pool_cases(options: PhantomOptions) -> list[Case]:
    """The unlabelled, unpaired pool: each case has some of the modalities, each modality its fair share."""
    rng = _rng(options, 3)
    hours = draw_hours(options.unlabelled, rng)
    subsets = _subsets(options.unlabelled, rng)
    return [
        Case(f"phantom_pool_{i:03d}", (4, i), hour, subset)
        for i, (hour, subset) in enumerate(zip(hours, subsets, strict=True), start=1)
    ]


def write_phantom(parent: Path, options: PhantomOptions, *, overwrite: bool = False) -> Iterator[str]:
    """Checks the request, then returns an iterator that writes one case a step and yields the case's name.

    The dataset appears in `parent` under its own name when the iterator ends, all of it at once.

    Raises:
        UserError: The dataset exists already, or the options make no sense.
    """
    check_options(options)
    target = parent / options.folder
    check_target(target, overwrite=overwrite)
    return _write(target, options)


def _write(target: Path, options: PhantomOptions) -> Iterator[str]:
    staging = target.with_name(f".{target.name}.part")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        yield from _write_cases(staging, options)
        _write_tables(staging, options)
        shutil.rmtree(target, ignore_errors=True)
        staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def check_options(options: PhantomOptions) -> None:
    """Refuses what cannot be drawn.

    Raises:
        UserError: A number is out of range.
    """
    wanted = {
        "cases": (1, 10**4),
        "unlabelled": (0, 10**5),
        "test": (0, 10**4),
        "seed": (0, 2**31),
        "id": (1, 999),
    }
    for option, (low, high) in wanted.items():
        value = getattr(options, option)
        if not low <= value <= high:
            raise UserError(f"--{option}", str(value), f"{low} to {high}", "choose another number")
    if any(n < least for n, least in zip(options.size, MIN_SIZE, strict=True)):
        raise UserError("--size", str(options.size), f"at least {MIN_SIZE}", "choose a larger size")
    if not options.name.replace("_", "").replace("-", "").isalnum():
        raise UserError("--name", repr(options.name), "letters, digits, _ and -", "choose another name")


def check_target(target: Path, *, overwrite: bool) -> None:
    """Refuses to touch what is not a phantom, or a phantom without `overwrite`.

    Raises:
        UserError: Something is in the way.
    """
    number = target.name.split("_")[0]
    others = [p.name for p in target.parent.glob(f"{number}_*") if p != target]
    if others:
        remedy = "choose another --id: nnU-Net finds datasets by their number"
        raise UserError(target.parent, f"{others[0]} has the same number", f"no other {number}_*", remedy)
    if not target.exists():
        return
    if not overwrite:
        raise UserError(target, "it exists", "a new folder", "choose another --id, or --overwrite")
    description = target / "dataset.json"
    if not description.is_file() or "phantom" not in read_json(description):
        remedy = "choose another --id, or remove the folder yourself if nobody needs it"
        raise UserError(target, "a dataset that mgcl phantom has not written", "a phantom to overwrite", remedy)


def dataset_json(options: PhantomOptions) -> dict[str, Any]:
    """The content of `dataset.json`: nnU-Net's keys, the plugin's `mgcl`, and the phantom's options."""
    return {
        "channel_names": {str(channel): m for channel, m in enumerate(MODALITIES)},
        "labels": label_names(MODALITIES),
        "numTraining": options.cases,
        "file_ending": FILE_ENDING,
        "name": options.name,
        "description": DESCRIPTION,
        "mgcl": {
            "modalities": {m: [channel] for channel, m in enumerate(MODALITIES)},
            "lesion_labels": lesion_labels(MODALITIES),
        },
        "phantom": asdict(options),
    }


def _labelled_cases(options: PhantomOptions, prefix: str, count: int, stream: int) -> list[Case]:
    hours = draw_hours(count, _rng(options, stream, 0))
    return [Case(f"{prefix}_{i:03d}", (stream, i), hour) for i, hour in enumerate(hours, start=1)]


def _subsets(count: int, rng: np.random.Generator) -> list[tuple[str, ...]]:
    """Non-empty subsets of the modalities in turns, the full set first: one case suffices for all of them."""
    proper = [s for n in range(1, len(MODALITIES)) for s in combinations(MODALITIES, n)]
    subsets: list[tuple[str, ...]] = []
    while len(subsets) < count:
        subsets += [MODALITIES, *(proper[i] for i in rng.permutation(len(proper)))]
    return subsets[:count]


def _rng(options: PhantomOptions, *stream: int) -> np.random.Generator:
    return np.random.default_rng([options.seed, *stream])


def _write_cases(root: Path, options: PhantomOptions) -> Iterator[str]:
    parts = (("Tr", training_cases(options)), ("Ts", test_cases(options)), ("Un", pool_cases(options)))
    for suffix, cases in parts:
        for case in cases:
            patient = case.draw(options)
            for modality, image in patient.images.items():
                channel = MODALITIES.index(modality)
                path = root / f"images{suffix}" / f"{case.name}_{channel:04d}{FILE_ENDING}"
                _write_image(path, image, options.grid)
            if suffix != "Un":
                path = root / f"labels{suffix}" / f"{case.name}{FILE_ENDING}"
                _write_image(path, patient.label_map, options.grid)
            yield case.name


def _write_tables(root: Path, options: PhantomOptions) -> None:
    write_text(root / "tss.csv", _tss_table(training_cases(options)))
    if options.test:
        # Not in tss.csv, whose cases are the training cases: nobody trains on the test cases' times.
        write_text(root / "tssTs.csv", _tss_table(test_cases(options)))
    write_json(root / "dataset.json", dataset_json(options))


def _tss_table(cases: list[Case]) -> str:
    return "\n".join(["case,tss_hours", *(f"{case.name},{case.hours:.2f}" for case in cases)]) + "\n"


def _write_image(path: Path, array: np.ndarray, grid: Grid) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(grid.spacing[::-1])
    sitk.WriteImage(image, path)
