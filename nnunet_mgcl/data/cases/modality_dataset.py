"""One branch's view of the data, as a dataset that nnU-Net's own loader reads.

It joins labelled cases (some of their channels, labels mapped to the branch's target) with cases of the
unlabelled pool (whose masks are pseudo-labels of a fold, kept apart from the images that all folds share).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.training.dataloading.nnunet_dataset import (
    comp_blosc2_params,
    infer_dataset_class,
    nnUNetBaseDataset,
    nnUNetDatasetBlosc2,
)
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunet_mgcl.system.errors import UserError, reason
from nnunet_mgcl.system.files import replacing
from nnunet_mgcl.system.safe_loading import load_case

POOL_PREFIX = "pool:"
"""Marks identifiers of pool cases, which may carry the name of a labelled case."""

ClassLocations = dict[int | tuple[int, ...], Any]
"""Label or group of labels -> voxels `(N, 4)` as (0, z, y, x), or an empty list: nnU-Net's own format."""


class ChannelView:
    """Some channels of a lazily read array `(C, Z, Y, X)`; only what is sliced is read."""

    def __init__(self, array: Any, channels: Sequence[int]) -> None:
        self.array, self.channels = array, list(channels)
        self.shape = (len(self.channels), *array.shape[1:])
        self.ndim, self.dtype = len(self.shape), array.dtype

    def __getitem__(self, key: slice | tuple[slice, ...]) -> np.ndarray:
        first, *rest = key if isinstance(key, tuple) else (key,)
        return np.stack([np.asarray(self.array[(channel, *rest)]) for channel in self.channels[first]])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)


class LesionView:
    """A lazily read label map `(1, Z, Y, X)` as a branch's target: 1 lesion, 0 not, 2 ignored, -1 outside."""

    def __init__(self, array: Any, lesion_labels: Sequence[int], ignore_label: int | None) -> None:
        self.array, self.lesion_labels, self.ignore_label = array, list(lesion_labels), ignore_label
        self.shape, self.ndim, self.dtype = array.shape, len(array.shape), np.dtype(np.int16)

    def __getitem__(self, key: slice | tuple[slice, ...]) -> np.ndarray:
        labels = np.asarray(self.array[key])
        target = np.isin(labels, self.lesion_labels).astype(self.dtype)
        if self.ignore_label is not None:
            target[labels == self.ignore_label] = 2
        target[labels == -1] = -1
        return target

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)


@dataclass(frozen=True)
class LabelledCase:
    """A preprocessed training case of nnU-Net.

    Attributes:
        case: Its name.
        folder: nnU-Net's folder of the data identifier.
        dataset_class: nnU-Net's class that reads this folder.
        channels: Channels of the branch.
        lesion_labels: Labels that become 1, none with (), which leaves no trace of a label; None keeps the dataset's.
        ignore_label: The dataset's ignore label; it becomes 2 where `lesion_labels` is given.
    """

    case: str
    folder: Path
    dataset_class: type[nnUNetBaseDataset]
    channels: tuple[int, ...]
    lesion_labels: tuple[int, ...] | None = None
    ignore_label: int | None = None

    @property
    def identifier(self) -> str:
        """Name within a `ModalityDataset`."""
        return self.case

    def load(self) -> tuple[Any, Any, dict[str, Any]]:
        """Opens image `(C, Z, Y, X)`, target `(1, Z, Y, X)` and properties."""
        data, seg, _, properties = load_case(self.dataset_class(str(self.folder), [self.case]), self.case)
        if self.channels != tuple(range(data.shape[0])):
            data = ChannelView(data, self.channels)
        if self.lesion_labels is not None:
            seg = LesionView(seg, self.lesion_labels, self.ignore_label)
            properties["class_locations"] = _lesion_locations(properties["class_locations"], self.lesion_labels)
        if self.lesion_labels == ():
            properties["class_locations"] = defaultdict(list)
        return data, seg, properties


@dataclass(slots=True)
class PoolCase:
    """A preprocessed case of one modality of the unlabelled pool. Never changed; frozen, 100,000 would be made slowly.

    Attributes:
        case: Its name.
        images: Folder of the preprocessed images.
        pseudo_labels: Folder that `save_pseudo_label` wrote to; None: no voxel is labelled.
        channels: How many the modality has; None: that is not compared.
    """

    case: str
    images: Path
    pseudo_labels: Path | None
    channels: int | None = field(default=None, kw_only=True)

    @property
    def identifier(self) -> str:
        """Name within a `ModalityDataset`."""
        return POOL_PREFIX + self.case

    def load(self) -> tuple[Any, Any, dict[str, Any]]:
        """Opens image `(C, Z, Y, X)`, target `(1, Z, Y, X)` and properties."""
        data, seg, properties = self.opened()
        if self.pseudo_labels is None:
            properties["class_locations"] = defaultdict(list)
        else:
            seg, properties["class_locations"] = read_pseudo_label(self.pseudo_labels, self.case)
        return data, seg, properties

    def opened(self) -> tuple[Any, Any, dict[str, Any]]:
        """Image, mask and properties as they were preprocessed.

        Raises:
            UserError: They are damaged. Nobody has looked before: a start of training opens no case of the pool.
        """
        try:
            data, seg, _, properties = load_case(nnUNetDatasetBlosc2(str(self.images), [self.case]), self.case)
            found = f"an image of shape {data.shape} and a mask of shape {seg.shape}"
            fits = data.shape[1:] == seg.shape[1:] and self.channels in (None, data.shape[0])
        except UserError:
            raise
        except Exception as error:  # blosc2's, NumPy's, pickle's and the operating system's
            found, fits = f"cannot be read ({reason(error)})", False
        if not fits:
            remedy = "run mgcl prepare with imagesUn in its place, which makes it again, or copy its files again"
            raise UserError(self.images / self.case, found, "a whole preprocessed case", remedy)
        return data, seg, properties


@dataclass(slots=True)
class JoinedCase(PoolCase):
    """A labelled case that has joined the pool, without its label.

    Attributes:
        labelled: Where its image is.
    """

    labelled: LabelledCase

    def opened(self) -> tuple[Any, Any, dict[str, Any]]:
        """The image; of the mask only what is outside."""
        return replace(self.labelled, lesion_labels=(), ignore_label=None).load()


CaseSource = LabelledCase | PoolCase


class ModalityDataset(nnUNetBaseDataset):
    """Labelled and pool cases of one branch behind nnU-Net's dataset interface. Read only, picklable."""

    def __init__(self, sources: Iterable[CaseSource]) -> None:
        given = list(sources)
        self.sources: dict[str, CaseSource] = {source.identifier: source for source in given}
        if len(self.sources) < len(given):
            twice, _ = Counter(source.identifier for source in given).most_common(1)[0]
            raise ValueError(f"two cases are called {twice!r}")
        super().__init__("", list(self.sources))

    def load_case(self, identifier: str) -> tuple[Any, Any, None, dict[str, Any]]:
        """Opens a case: image, target, nothing (nnU-Net's place for a cascade's first stage), properties."""
        data, seg, properties = self.sources[identifier].load()
        return data, seg, None, properties

    @staticmethod
    def save_case(*_: Any, **__: Any) -> None:
        """Refuses: the view is read only."""
        raise NotImplementedError("a ModalityDataset is read only")

    @staticmethod
    def get_identifiers(folder: str) -> list[str]:
        """Refuses: the view has no folder of its own; ask an instance for `identifiers`."""
        raise NotImplementedError("a ModalityDataset is built from case sources, not from a folder")


def labelled_sources(
    folder: Path,
    cases: Iterable[str],
    channels: Sequence[int],
    lesion_labels: Sequence[int] | None,
    ignore_label: int | None,
) -> list[LabelledCase]:
    """One source a case of nnU-Net's preprocessed folder; arguments as in `LabelledCase`."""
    dataset_class = infer_dataset_class(str(folder))
    masks = None if lesion_labels is None else tuple(lesion_labels)
    return [LabelledCase(case, folder, dataset_class, tuple(channels), masks, ignore_label) for case in cases]


def open_case(images: nnUNetBaseDataset, case: str) -> tuple[Any, dict[str, Any]]:
    """The image `(C, Z, Y, X)`, of which no voxel is read, and the properties of a case.

    Raises:
        Exception: A file is missing or truncated, or the image and its mask differ in shape; of blosc2, NumPy, pickle
            or the operating system.
    """
    data, seg, _, properties = load_case(images, case)
    if data.shape[1:] != seg.shape[1:]:
        raise ValueError(f"an image of shape {tuple(data.shape)} and a mask of shape {tuple(seg.shape)}")
    return data, properties


def sample_class_locations(seg: np.ndarray, label_manager: LabelManager) -> ClassLocations:
    """Samples the voxels `(N, 4)` of each class in `seg (1, Z, Y, X)`, as nnU-Net's preprocessor does."""
    return DefaultPreprocessor._sample_foreground_locations(seg, located_classes(label_manager))


def located_classes(label_manager: LabelManager) -> list[int | tuple[int, ...]]:
    """The labels or groups of labels whose voxels nnU-Net's preprocessor notes, in its order."""
    wanted = label_manager.foreground_regions if label_manager.has_regions else label_manager.foreground_labels
    classes = [tuple(map(int, one)) if isinstance(one, list | tuple) else int(one) for one in wanted]
    if label_manager.has_ignore_label:
        classes.append((-1, *map(int, label_manager.all_labels)))
    return classes


def save_pseudo_label(
    folder: Path, case: str, seg: np.ndarray, class_locations: ClassLocations, patch_size: Sequence[int]
) -> None:
    """Writes a mask `(1, Z, Y, X)` of a pool case and the voxels that nnU-Net's loader oversamples.

    Args:
        folder: The folder of this fold, round and modality.
        case: Name of the pool case.
        seg: Label map in the space of the preprocessed image.
        class_locations: From `sample_class_locations`.
        patch_size: The plan's patch, which decides how the file is chunked.
    """
    seg = np.ascontiguousarray(seg, dtype=np.int16)
    blocks, chunks = comp_blosc2_params(seg.shape, tuple(patch_size), seg.itemsize)
    arrays = {
        _name_of(key): np.asarray(voxels, dtype=np.int64).reshape(-1, 4) for key, voxels in class_locations.items()
    }
    with replacing(folder / f"{case}.npz") as temporary:
        np.savez(temporary, **arrays)  # type: ignore[arg-type]
    # The mask comes last: where it is, its locations are.
    with replacing(folder / f"{case}.b2nd") as temporary:
        blosc2.asarray(seg, urlpath=str(temporary), chunks=chunks, blocks=blocks)


def read_pseudo_label(folder: Path, case: str) -> tuple[Any, ClassLocations]:
    """Opens a mask `(1, Z, Y, X)` lazily and reads its class locations."""
    seg = blosc2.open(urlpath=str(folder / f"{case}.b2nd"), mode="r", dparams={"nthreads": 1})
    with np.load(folder / f"{case}.npz", allow_pickle=False) as arrays:
        return seg, {_key_of(name): arrays[name] for name in arrays.files}


def _lesion_locations(locations: ClassLocations, lesion_labels: Sequence[int]) -> ClassLocations:
    """Maps class locations to a branch: the union of its labels, and the annotated voxels (ignore label)."""
    own = [locations[label] for label in lesion_labels if len(locations.get(label, ())) > 0]
    mapped: ClassLocations = {1: np.concatenate(own) if own else []}
    for key, voxels in locations.items():
        if isinstance(key, tuple) and -1 in key:
            mapped[-1, 0, 1] = voxels
    return mapped


def _name_of(key: int | tuple[int, ...]) -> str:
    """A class as the name of an array in an npz file: `1`, or `-1,0,1,` for a group."""
    return "".join(f"{label}," for label in key) if isinstance(key, tuple) else str(key)


def _key_of(name: str) -> int | tuple[int, ...]:
    return tuple(int(label) for label in name.split(",")[:-1]) if "," in name else int(name)
