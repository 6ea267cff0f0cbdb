from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunet_mgcl.data.cases.modality_dataset import read_pseudo_label
from nnunet_mgcl.engine.context import FoldContext
from nnunet_mgcl.pretraining import pseudo_label as module
from nnunet_mgcl.pretraining.pseudo_label import PseudoLabel, label_from_logits
from nnunet_mgcl.pretraining.pseudo_label_notes import NOTES, notes_file, read_notes

LESION = np.s_[1:3, 8:20, 8:20]
CONFIDENCE = 1 / (1 + math.exp(-3))
"""Softmax of the logits (0, 3) that the stand-in for a network predicts in its lesion."""


@pytest.fixture
def context(make_context):
    context = make_context()
    save_weights(context, "seed")
    save_weights(context, "self_train")
    return context


def save_weights(context, phase) -> None:
    """As if the phase had trained the branch."""
    torch.manual_seed(len(phase))
    folder = context.layout.phase(phase, "A")
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(context.branches[0].build_unet().state_dict(), folder / "network.pth")


@pytest.fixture
def predicted(monkeypatch):
    """Stands in for the sliding window: a lesion at `LESION`; collects the images it was given."""
    seen = []

    def predict(predictor, image):
        seen.append(image)
        logits = torch.zeros(2, *image.shape[1:])
        logits[1] = -3
        logits[1][LESION] = 3
        logits[1, :, 0] = 3  # the first row is outside of the image
        return logits.half()

    monkeypatch.setattr(nnUNetPredictor, "predict_sliding_window_return_logits", predict)
    return seen


def folder(context, round_=1):
    return context.layout.pseudo_labels(round_, "A")


class TestFiles:
    def test_mask_locations_and_confidence_of_every_pool_case(self, context, predicted) -> None:
        PseudoLabel(1, source="seed").run(context)
        names = [f"pool_{n}.{suffix}" for n in (0, 1) for suffix in ("b2nd", "npz")]
        assert sorted(path.name for path in folder(context).iterdir()) == [NOTES, *names]
        seg, locations = read_pseudo_label(folder(context), "pool_0")
        lesion = np.zeros(seg.shape[1:], bool)
        lesion[LESION] = lesion[:, 0] = True
        assert np.array_equal(seg[0] == 1, lesion)
        assert {tuple(voxel) for voxel in locations[1]} <= {(0, *voxel) for voxel in np.argwhere(lesion).tolist()}
        written = read_notes(folder(context), ["pool_0"])["pool_0"]
        assert written == {"confidence": pytest.approx(CONFIDENCE, abs=1e-3), "voxels": int(lesion.sum())}
        assert context.state.is_done("pseudo_label_1", "A")

    def test_outside_of_the_image_stays_marked_where_no_lesion_is_predicted(self, context, predicted) -> None:
        PseudoLabel(1, source="seed").run(context)
        seg, _ = read_pseudo_label(folder(context), "pool_0")
        assert (seg[0, :, 1] == -1).all()  # the second row is outside and predicted as background
        assert (seg[0, :, 0] == 1).all()  # the first is outside, too, but predicted as lesion
        assert not (seg[0, :, 2:] == -1).any()

    def test_network_sees_the_branch_s_whole_preprocessed_image(self, context, predicted) -> None:
        PseudoLabel(1, source="seed").run(context)
        images = context.dataset_layout.unlabelled(context.configuration.data_identifier, "A")
        stored = context.dataset_class(str(images), ["pool_0", "pool_1"])
        for image, case in zip(predicted, ("pool_0", "pool_1"), strict=True):
            assert np.array_equal(image.numpy(), stored.load_case(case)[0][:])


class TestRun:
    @pytest.mark.parametrize("dimensions", [2, 3])
    def test_real_network_labels_the_pool(self, make_context, dimensions, lines) -> None:
        context = make_context(dimensions)
        save_weights(context, "seed")
        PseudoLabel(1, source="seed").run(context)
        for case in context.pool["A"]:
            seg, _ = read_pseudo_label(folder(context), case)
            written = read_notes(folder(context), [case])[case]
            assert set(np.unique(seg[:])) <= {-1, 0, 1}
            assert written["voxels"] == (seg[:] == 1).sum()
            assert 0.5 <= written["confidence"] <= 1
        assert lines[-1].startswith("pseudo_label_1 A: lesions in 2 of 2 pool cases, median confidence 0.")

    @pytest.mark.parametrize(("round_", "source"), [(1, "seed"), (2, "self_train")])
    def test_weights_are_those_of_the_source(self, context, predicted, monkeypatch, round_, source) -> None:
        networks = []
        predictor = module._predictor
        monkeypatch.setattr(
            module, "_predictor", lambda *args: (networks.append(args[2].state_dict()), predictor(*args))[1]
        )
        PseudoLabel(round_, source).run(context)
        expected = torch.load(context.layout.phase(source, "A") / "network.pth", weights_only=True)
        assert all(torch.equal(networks[0][name], value) for name, value in expected.items())

    def test_restart_skips_finished_cases_and_keeps_their_files(self, context, predicted, make_context) -> None:
        PseudoLabel(1, source="seed").run(context)
        kept = (folder(context) / "pool_0.b2nd").read_bytes()
        file = notes_file(folder(context), rank=0)
        notes = file.read_text()
        file.write_text(notes[: notes.index("pool_1") + 20])  # killed in the last write
        context.layout.state.unlink()
        predicted.clear()
        PseudoLabel(1, source="seed").run(make_context())
        assert len(predicted) == 1
        assert file.read_text().splitlines()[-1] == notes.splitlines()[-1]
        assert read_notes(folder(context), ["pool_0", "pool_1"]).keys() == {"pool_0", "pool_1"}
        assert (folder(context) / "pool_0.b2nd").read_bytes() == kept

    def test_ranks_share_the_cases(self, context, predicted, monkeypatch) -> None:
        monkeypatch.setattr(FoldContext, "wait_for_all", lambda _: None)
        monkeypatch.setattr(PseudoLabel, "_summarise", lambda *_: None)
        context.world_size = 2
        for rank, case in enumerate(context.pool["A"]):
            context.rank = rank
            PseudoLabel(1, source="seed").run(context)
            assert len(predicted) == rank + 1
            assert case in read_notes(folder(context), [case])
            assert case in notes_file(folder(context), rank).read_text()  # no file has two writers
            assert notes_file(folder(context), rank).read_text().count("case") == 1
        assert read_notes(folder(context), context.pool["A"]).keys() == set(context.pool["A"])

    @pytest.mark.parametrize("mirroring", [True, False])
    def test_mirroring_is_the_configuration_s(self, make_context, predicted, monkeypatch, mirroring) -> None:
        context = make_context(mgcl={"pseudo_label": {"mirroring": mirroring}})
        save_weights(context, "seed")
        monkeypatch.setattr(
            nnUNetPredictor,
            "predict_sliding_window_return_logits",
            lambda p, image: (predicted.append(p), torch.zeros(2, *image.shape[1:]))[1],
        )
        PseudoLabel(1, source="seed").run(context)
        assert predicted[0].use_mirroring is mirroring
        assert predicted[0].allowed_mirroring_axes == context.augmentation.mirror_axes


class TestLabelFromLogits:
    """Logits `(C, X, Y)` with a row of voxels."""

    def label(self, make_context, labels, *rows):
        context = make_context(labels=labels)
        return label_from_logits(context.branches[0], torch.tensor(rows, dtype=torch.float32)[:, None])

    def test_confidence_is_the_mean_lesion_probability_over_the_voxels_predicted_as_lesion(self, make_context) -> None:
        mask, confidence = self.label(make_context, "masks", [0, 0, 0, 0], [-5, 1, 3, -0.1])
        assert mask.tolist() == [[0, 1, 1, 0]]
        assert confidence == pytest.approx((1 / (1 + math.exp(-1)) + 1 / (1 + math.exp(-3))) / 2, abs=1e-6)

    @pytest.mark.parametrize("labels", ["masks", "shared", "ignore", "regions"])
    def test_no_lesion_has_no_confidence(self, make_context, labels) -> None:
        rows = ([-1, -9], [-2, -8]) if labels == "regions" else ([1, 9], [0, 0])
        mask, confidence = self.label(make_context, labels, *rows)
        assert confidence is None
        assert not mask.any()

    def test_every_foreground_label_is_lesion(self, make_context) -> None:
        mask, confidence = self.label(make_context, "two lesions", [0, 2], [0, 0], [1, 0])
        assert mask.tolist() == [[2, 0]]
        assert confidence == pytest.approx(1 - 1 / (2 + math.e), abs=1e-6)

    def test_regions_take_the_likeliest_region_and_nnunet_s_order(self, make_context) -> None:
        mask, confidence = self.label(make_context, "regions", [2, 1, -4, -1], [-3, 2, 1, -2])
        assert mask.tolist() == [[1, 2, 2, 0]]
        probabilities = [1 / (1 + math.exp(-x)) for x in (2, 2, 1)]
        assert confidence == pytest.approx(sum(probabilities) / 3, abs=1e-6)

    def test_ignore_label_is_never_predicted(self, make_context) -> None:
        context = make_context(labels="ignore")
        assert context.branches[0].build_unet().decoder.seg_layers[-1].out_channels == 2
        mask, confidence = self.label(make_context, "ignore", [0, 5], [5, 0])
        assert mask.tolist() == [[1, 0]]
        assert confidence == pytest.approx(1 / (1 + math.exp(-5)), abs=1e-6)
