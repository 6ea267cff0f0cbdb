from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch

from nnunet_mgcl.engine.branches import Branch
from nnunet_mgcl.engine.training_warnings import read_warnings
from nnunet_mgcl.losses import slab_labels, slice_labels
from nnunet_mgcl.network.branch import decoder_state
from nnunet_mgcl.pretraining.coarse import Coarse, CoarseModel, CoarseSettings
from nnunet_mgcl.pretraining.contrast import cases as contrast_cases


@pytest.fixture
def built(monkeypatch):
    """Every U-Net that a phase builds: (the network, its state at first)."""
    seen = []
    build_unet = Branch.build_unet

    def spy(branch):
        unet = build_unet(branch)
        seen.append((unet, deepcopy(unet.state_dict())))
        return unet

    monkeypatch.setattr(Branch, "build_unet", spy)
    return seen


@pytest.mark.parametrize("dimensions", [2, 3])
def test_coarse_changes_the_encoder_and_nothing_else(make_context, write_pseudo_labels, built, dimensions) -> None:
    context = make_context(dimensions, norm="BatchNorm")
    write_pseudo_labels(context, context.branches[0], 2, lesion=np.s_[0:1, 8:20, 8:20])
    whole_network = deepcopy(context.network.state_dict())
    Coarse().run(context)
    assert len(built) == 3  # the second is the untrained one that A, which has cases left out, is compared with
    for unet, before in built[::2]:
        changed = {name for name, value in unet.state_dict().items() if not torch.equal(value, before[name])}
        in_encoder = {name for name in before if name.startswith(("encoder.", "decoder.encoder."))}
        assert changed <= in_encoder
        # Biases before a normalisation get no gradient; all else moves, running statistics included.
        moving = {name for name in in_encoder if not name.endswith("bias")}
        assert moving <= changed
    assert all(torch.equal(value, whole_network[name]) for name, value in context.network.state_dict().items())


def test_skipped_branch_keeps_its_he_initialisation(make_context, write_pseudo_labels, built, monkeypatch) -> None:
    monkeypatch.setattr(contrast_cases, "has_two_classes", lambda *_: False)
    context = make_context()
    write_pseudo_labels(context, context.branches[0], 2, lesion=None)
    Coarse().run(context)
    left = torch.load(context.layout.phase("coarse", "A") / "network.pth", weights_only=True)
    initial = built[0][1]
    assert all(torch.equal(value, initial[f"encoder.{name}"]) for name, value in left.items())


def test_branches_start_from_their_own_random_state(make_context, built) -> None:
    context = make_context(pool={"A": [], "B": []}, mgcl={"coarse": {"epochs": 1}})
    Coarse().run(context)
    (first, _), (second, _) = built
    ours, others = decoder_state(first), decoder_state(second)
    assert not torch.equal(ours["stages.0.convs.0.conv.weight"], others["stages.0.convs.0.conv.weight"])


class TestModel:
    def test_one_sample_a_slice_in_2d(self, make_context) -> None:
        model = CoarseModel(make_context().branches[0].build_unet(), CoarseSettings(embedding_dim=5), ignore_label=2)
        mask = torch.zeros(4, 1, 32, 32)
        mask[1, :, 3, 3], mask[2], mask[3, :, :16] = 1, 2, 2
        embeddings, labels = model(torch.randn(4, 2, 32, 32), mask)
        assert embeddings.shape == (4, 5)
        assert labels.tolist() == [0, 1, -1, 0]
        assert torch.equal(labels, slice_labels(mask, 2))

    def test_one_sample_a_position_of_the_deepest_map_in_3d(self, make_context) -> None:
        model = CoarseModel(
            make_context(3).branches[0].build_unet(), CoarseSettings(embedding_dim=5), ignore_label=None
        )
        mask = torch.zeros(3, 1, 4, 32, 32)
        mask[0, :, 0, 3, 3] = mask[2, :, 3, 3, 3] = 1
        embeddings, labels = model(torch.randn(3, 2, 4, 32, 32), mask)
        assert embeddings.shape == (3 * 2, 5)
        assert labels.tolist() == [1, 0, 0, 0, 0, 1]
        assert torch.equal(labels, slab_labels(mask, 2).flatten())

    @pytest.mark.parametrize(("dimensions", "shape"), [(2, (32, 32)), (3, (4, 32, 32))])
    def test_every_trainable_parameter_takes_part(self, make_context, dimensions, shape) -> None:
        """DDP does not tolerate one without a gradient."""
        model = CoarseModel(
            make_context(dimensions).branches[0].build_unet(), CoarseSettings(embedding_dim=5), ignore_label=None
        )
        model(torch.randn(2, 2, *shape), torch.zeros(2, 1, *shape))[0].sum().backward()
        assert not [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]


def test_in_3d_slabs_are_looked_up_rather_than_slices(make_context, write_pseudo_labels) -> None:
    """One of four slices is healthy, but no slab of the deepest map is: there is nothing to contrast."""
    context = make_context(3)
    context.branches = context.branches[:1]
    thickness = np.prod([stride[0] for stride in context.configuration.pool_op_kernel_sizes])
    assert thickness > 1, "slabs of one slice cannot tell"
    write_pseudo_labels(context, context.branches[0], 2, np.s_[1:, 8:20, 8:20])
    Coarse().run(context)
    (warning,) = [own for own in read_warnings(context.layout.warnings) if "no use" in own.message]
    assert "single class" in warning.message
