from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from nnunet_mgcl.losses import patch_labels
from nnunet_mgcl.pretraining.coarse import Coarse
from nnunet_mgcl.pretraining.contrast import phase as contrast
from nnunet_mgcl.pretraining.fine import Fine, FineModel


@pytest.fixture
def models(monkeypatch):
    """Every model that the phase trains: (the model, its state before)."""
    seen = []
    train = contrast.train

    def spy(context, job):
        if job.phase == "fine":
            seen.append((job.module, deepcopy(job.module.state_dict())))
        return train(context, job)

    monkeypatch.setattr(contrast, "train", spy)
    return seen


def run_both(context, write_pseudo_labels):
    write_pseudo_labels(context, context.branches[0], 2)
    Coarse().run(context)
    Fine().run(context, [Coarse()])


def left_by(context, phase, branch="A"):
    return torch.load(context.layout.phase(phase, branch) / "network.pth", weights_only=True)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_frozen_means_frozen_also_for_the_running_statistics(
    make_context, write_pseudo_labels, models, dimensions
) -> None:
    context = make_context(dimensions, norm="BatchNorm")
    run_both(context, write_pseudo_labels)
    assert len(models) == 2
    for branch, (model, before) in zip(context.branches, models, strict=True):
        coarse = left_by(context, "coarse", branch.name)
        assert any(name.endswith("running_mean") for name in coarse)
        for name, value in model.encoder.state_dict().items():
            assert torch.equal(value, coarse[name]), name
        changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
        assert not {name for name in changed if name.startswith(("encoder.", "decoder.encoder.", "decoder.seg_layers"))}
        trained = {name for name in before if name.startswith(("decoder.stages.", "decoder.transpconvs."))}
        assert not {n for n in trained - changed if not n.endswith("bias")}, "every part of the decoder is trained"
        assert {name for name in changed if name.startswith("projection.")}


def test_decoder_starts_from_its_own_he_initialisation(make_context, write_pseudo_labels, models) -> None:
    context = make_context()
    run_both(context, write_pseudo_labels)
    name = "decoder.stages.0.convs.0.conv.weight"
    (_, first), (_, second) = models
    assert not torch.equal(first[name], second[name])


class TestModel:
    def model(self, context, **settings):
        config = context.config.fine.model_copy(update={"negatives": None} | settings)
        return FineModel(context.branches[0].build_unet(), config, context.branches[0].label_manager.ignore_label)

    @pytest.mark.parametrize(("dimensions", "shape"), [(2, (32, 32)), (3, (4, 32, 32))])
    def test_one_sample_a_patch_of_the_grid(self, make_context, dimensions, shape) -> None:
        context = make_context(dimensions)
        model = self.model(context)
        mask = torch.zeros(2, 1, *shape)
        mask[..., 20:31, 2:9] = 1
        embeddings, labels = model(torch.randn(2, 2, *shape), mask)
        patches = 16 * (shape[0] if dimensions == 3 else 1)
        assert embeddings.shape == (2 * patches, 8)
        assert torch.equal(labels, patch_labels(mask, 8, 0.1).flatten())
        assert set(labels.tolist()) == {0, 1}

    @pytest.mark.parametrize(("dimensions", "shape"), [(2, (32, 32)), (3, (4, 32, 32))])
    def test_sample_and_label_are_of_the_same_patch(self, make_context, dimensions, shape) -> None:
        """Marks one patch in image and mask; only its row answers, where features are the image itself."""
        model = self.model(make_context(dimensions))
        model.encoder.forward = lambda data: [data[:, :1].expand(-1, 4, *shape)]
        model.decoder.forward = lambda skips: skips[0]
        image, mask = torch.zeros(1, 2, *shape), torch.zeros(1, 1, *shape)
        before, _ = model(image, mask)
        marked = (0, 0, *((2,) if dimensions == 3 else ()), slice(10, 14), slice(18, 22))
        image[marked], mask[marked] = 5, 1
        after, labels = model(image, mask)
        moved = (after != before).any(1)
        assert moved.nonzero().flatten().tolist() == labels.nonzero().flatten().tolist()
        assert labels.sum() == 1

    def test_encoder_stays_in_evaluation_mode_and_gets_no_gradient(self, make_context) -> None:
        model = self.model(make_context(norm="BatchNorm")).train()
        assert model.decoder.stages.training and model.projection.training
        assert not any(module.training for module in model.encoder.modules())
        model(torch.randn(2, 2, 32, 32), torch.zeros(2, 1, 32, 32))[0].sum().backward()
        assert all(p.grad is None for p in model.encoder.parameters())
        trained = {name for name, p in model.named_parameters() if p.grad is not None}
        assert trained and all(name.startswith(("decoder.", "projection.")) for name in trained)
        assert not {name for name in trained if "seg_layers" in name or "encoder" in name}
        assert trained == {name for name, p in model.named_parameters() if p.requires_grad}  # DDP wants no other

    def test_unannotated_patches_are_left_out(self, make_context) -> None:
        context = make_context(labels="ignore")
        mask = torch.zeros(1, 1, 32, 32)
        mask[..., :8, :8] = 2
        mask[..., 8:16, :4] = 2
        _, labels = self.model(context)(torch.randn(1, 2, 32, 32), mask)
        assert labels.tolist() == [-1] + [0] * 15
