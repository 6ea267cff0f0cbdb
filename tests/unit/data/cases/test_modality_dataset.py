from __future__ import annotations

import pickle

import numpy as np
import pytest
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2, nnUNetDatasetNumpy
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunet_mgcl.data.cases.modality_dataset import (
    ModalityDataset,
    PoolCase,
    labelled_sources,
    read_pseudo_label,
    sample_class_locations,
    save_pseudo_label,
)

SHAPE = (6, 16, 20)
MASKS = LabelManager({"background": 0, "DWI": 1, "FLAIR": 2, "both": 3}, None)
MASKS_IGNORE = LabelManager({"background": 0, "DWI": 1, "FLAIR": 2, "both": 3, "ignore": 4}, None)
LESION = LabelManager({"background": 0, "lesion": 1}, None)
LESION_IGNORE = LabelManager({"background": 0, "lesion": 1, "ignore": 2}, None)


def image_and_labels(seed, labels=(0, 1, 2, 3), channels=3):
    random = np.random.default_rng(seed)
    data = random.normal(size=(channels, *SHAPE)).astype(np.float32)
    seg = np.zeros((1, *SHAPE), np.int16)
    seg[:, 1:4, 4:12, 4:12] = random.choice(labels, size=(1, 3, 8, 8))
    seg[:, :, 0] = -1
    return data, seg


def save(folder, case, data, seg, locations=None):
    folder.mkdir(exist_ok=True)
    properties = {"spacing": [6.0, 3.0, 3.0]} | ({} if locations is None else {"class_locations": locations})
    chunk = {"chunks": (1, 3, 16, 20), "blocks": (1, 1, 16, 20)}
    nnUNetDatasetBlosc2.save_case(data, seg, properties, str(folder / case), **chunk)


@pytest.fixture
def labelled(tmp_path):
    """Two labelled cases: (folder, arrays by case)."""
    arrays = {case: image_and_labels(seed) for seed, case in enumerate(["a", "b"])}
    for case, (data, seg) in arrays.items():
        save(tmp_path / "labelled", case, data, seg, sample_class_locations(seg, MASKS))
    return tmp_path / "labelled", arrays


class TestLabelledCase:
    @pytest.mark.parametrize("channels", [[0, 1, 2], [2], [2, 0]])
    def test_channels_are_selected_in_order(self, labelled, channels):
        folder, arrays = labelled
        dataset = ModalityDataset(labelled_sources(folder, ["a"], channels, None, None))
        data, seg, previous, properties = dataset.load_case("a")
        assert np.array_equal(seg[:], arrays["a"][1]) and previous is None  # shared labels are nnU-Net's own
        assert set(properties["class_locations"]) == {1, 2, 3}
        assert data.shape == (len(channels), *SHAPE)
        assert np.array_equal(data[:], arrays["a"][0][channels])
        crop = data[:, 2:5, 1:9, 3:4]
        assert np.array_equal(crop, arrays["a"][0][channels][:, 2:5, 1:9, 3:4])

    def test_labels_become_the_branchs_lesion(self, labelled):
        folder, arrays = labelled
        _, seg, _, properties = ModalityDataset(labelled_sources(folder, ["a"], [1], [2, 3], None))["a"]
        truth = arrays["a"][1]
        assert np.array_equal(seg[:], np.where(truth == -1, -1, np.where(truth >= 2, 1, 0)))
        locations = properties["class_locations"]
        assert set(locations) == {1}
        assert {tuple(voxel) for voxel in locations[1]} == {tuple(v) for v in np.argwhere(truth >= 2)}

    def test_branch_without_lesion_has_no_locations(self, tmp_path):
        data, seg = image_and_labels(0, labels=(0, 1))
        save(tmp_path / "x", "a", data, seg, sample_class_locations(seg, MASKS))
        _, seg, _, properties = ModalityDataset(labelled_sources(tmp_path / "x", ["a"], [1], [2, 3], None))["a"]
        assert seg[:].max() == 0
        assert len(properties["class_locations"][1]) == 0

    def test_ignored_voxels_become_2_and_annotated_ones_stay_known(self, tmp_path):
        data, truth = image_and_labels(0, labels=(0, 1, 2, 3, 4))
        save(tmp_path / "x", "a", data, truth, sample_class_locations(truth, MASKS_IGNORE))
        _, seg, _, properties = ModalityDataset(labelled_sources(tmp_path / "x", ["a"], [0], [1, 3], 4))["a"]
        assert np.array_equal(seg[:] == 2, truth == 4)
        assert np.array_equal(seg[:] == 1, np.isin(truth, [1, 3]))
        assert np.array_equal(seg[:] == -1, truth == -1)
        assert set(properties["class_locations"]) == {1, (-1, 0, 1)}

    def test_numpy_datasets_of_older_nnunet_are_read(self, tmp_path):
        data, truth = image_and_labels(0)
        locations = {"class_locations": sample_class_locations(truth, MASKS)}
        nnUNetDatasetNumpy.save_case(data, truth, locations, str(tmp_path / "a"))
        loaded, seg, *_ = ModalityDataset(labelled_sources(tmp_path, ["a"], [1], [1], None))["a"]
        assert np.array_equal(loaded[:], data[[1]])
        assert np.array_equal(seg[:] == 1, truth == 1)

    def test_only_the_asked_voxels_are_read(self, labelled):
        folder, _ = labelled
        data, seg, *_ = ModalityDataset(labelled_sources(folder, ["a"], [2], [1], None))["a"]
        read = []

        class Recorder:
            shape, dtype = data.array.shape, data.array.dtype

            def __getitem__(self, key):
                read.append(key)
                return np.zeros([1])

        data.array, seg.array = Recorder(), Recorder()
        crop = (slice(None), slice(1, 2), slice(3, 4), slice(5, 6))
        data[crop], seg[crop]
        assert read == [(2, *crop[1:]), crop]


class TestPseudoLabels:
    def test_what_is_saved_is_read_and_saving_again_replaces(self, tmp_path):
        _, seg = image_and_labels(0, labels=(0, 1))
        regions = {(1, 2): np.array([[0, 1, 2, 3]]), (2,): np.zeros((0, 4)), 3: np.zeros((0, 4))}
        for locations in (regions, sample_class_locations(seg, LESION), sample_class_locations(seg, LESION_IGNORE)):
            save_pseudo_label(tmp_path, "a", seg, locations, [16, 16])
            read, read_locations = read_pseudo_label(tmp_path, "a")
            assert np.array_equal(read[:], seg)
            assert set(read_locations) == set(locations)
            assert all(np.array_equal(read_locations[key], locations[key]) for key in locations)
            assert sorted(path.name for path in tmp_path.iterdir()) == ["a.b2nd", "a.npz"]
            seg = seg + 1

    def test_failed_write_leaves_nothing(self, tmp_path):
        with pytest.raises(ValueError):
            save_pseudo_label(tmp_path, "a", np.zeros((1, *SHAPE)), {1: [[0, 1]]}, [16, 16])
        assert not list(tmp_path.iterdir())


class TestModalityDataset:
    def test_pool_case_joins_image_and_pseudo_label(self, tmp_path):
        data, outside = image_and_labels(0, labels=(0,), channels=1)
        save(tmp_path / "images", "a", data, outside)
        mask = np.zeros((1, *SHAPE), np.int16)
        mask[0, 2, 5:9, 5:9] = 1
        save_pseudo_label(tmp_path / "labels", "a", mask, sample_class_locations(mask, LESION), [16, 16])
        dataset = ModalityDataset([PoolCase("a", tmp_path / "images", tmp_path / "labels")])
        loaded, seg, _, properties = dataset["pool:a"]
        assert np.array_equal(loaded[:], data) and np.array_equal(seg[:], mask)
        assert len(properties["class_locations"][1]) == 16

    def test_pool_case_without_pseudo_label_has_an_empty_mask(self, tmp_path):
        data, outside = image_and_labels(0, labels=(0,), channels=1)
        save(tmp_path / "images", "a", data, outside)
        _, seg, _, properties = ModalityDataset([PoolCase("a", tmp_path / "images", None)])["pool:a"]
        assert np.array_equal(seg[:], outside)
        assert not properties["class_locations"]

    def test_same_name_in_pool_and_training_set(self, labelled, tmp_path):
        folder, arrays = labelled
        save(tmp_path / "images", "a", arrays["b"][0][:1], arrays["b"][1])
        sources = labelled_sources(folder, ["a"], [0], [1], None)
        dataset = ModalityDataset([*sources, PoolCase("a", tmp_path / "images", None)])
        assert dataset.identifiers == ["a", "pool:a"]
        assert np.array_equal(dataset["a"][0][:], arrays["a"][0][:1])
        assert np.array_equal(dataset["pool:a"][0][:], arrays["b"][0][:1])

    def test_same_case_twice_is_a_mistake(self, labelled):
        sources = labelled_sources(labelled[0], ["a"], [0], None, None)
        with pytest.raises(ValueError, match="'a'"):
            ModalityDataset([*sources, *sources])

    @pytest.mark.parametrize("patch", [(16, 16), (8, 24, 16)])
    def test_nnunets_loader_reads_a_pickled_copy(self, labelled, tmp_path, patch):
        folder, arrays = labelled
        save(tmp_path / "images", "a", arrays["b"][0][:2], arrays["b"][1])
        mask = (arrays["b"][1] > 1).astype(np.int16)
        save_pseudo_label(tmp_path / "labels", "a", mask, sample_class_locations(mask, LESION), patch)
        sources = labelled_sources(folder, ["a", "b"], [2, 0], [1, 3], None)
        dataset = ModalityDataset([*sources, PoolCase("a", tmp_path / "images", tmp_path / "labels")])
        dataset = pickle.loads(pickle.dumps(dataset))
        loader = nnUNetDataLoader(dataset, 8, patch, patch, LESION, oversample_foreground_percent=1.0)
        for _ in range(4):
            batch = next(loader)
            assert batch["data"].shape == (8, 2, *patch)
            assert set(np.unique(batch["target"])) <= {-1, 0, 1}
            assert all((target == 1).any() for target in batch["target"])
            assert set(batch["keys"]) <= {"a", "b", "pool:a"}
