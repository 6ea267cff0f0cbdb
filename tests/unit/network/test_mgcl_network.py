from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nnunet_mgcl.network.mgcl_network import MGCLNetwork

HEAD = {"grid": 2, "heads": 2}
INPUT = {2: (2, 3, 32, 32), 3: (2, 3, 6, 32, 32)}


def naive_features(network: MGCLNetwork, volumes: Tensor) -> Tensor:
    """Case by case, modality by modality and (in 2d) slice by slice."""
    network.eval()
    cases = []
    for volume in volumes:
        tokens = []
        for index in network.tss_branches:
            own, encoder = volume[network.channels[index]], network.branches[index].encoder
            if encoder.conv_op is nn.Conv2d:
                maps = [encoder(own[None, :, z])[network.level.index][0] for z in range(own.shape[1])]
            else:
                maps = encoder(own[None])[network.level.index][0].unbind(1)
            tokens += [sum(m.unbind(0)) / len(m) for m in maps]
        cases.append(torch.stack(tokens))
    return torch.stack(cases).detach()


class TestForward:
    @pytest.mark.parametrize("dimensions", [2, 3])
    @pytest.mark.parametrize(("masks", "outputs"), [(False, 2), (True, 4)])
    def test_deep_supervision_gives_one_map_a_resolution_finest_first(
        self, make_network, dimensions, masks, outputs
    ) -> None:
        network = make_network(dimensions, masks=masks, deep_supervision=True)
        x = torch.randn(INPUT[dimensions])
        maps = network(x)
        half = (6, 16, 16) if dimensions == 3 else (16, 16)
        assert [m.shape for m in maps] == [(2, outputs, *x.shape[2:]), (2, outputs, *half)]
        network.deep_supervision = False
        assert torch.equal(network(x), maps[0])

    def test_every_branch_sees_its_channels_in_the_order_of_the_plan(self, make_network) -> None:
        network = make_network()
        x = torch.randn(INPUT[2])
        expected = network.fusion([network.branches[0](x[:, [2, 0]]), network.branches[1](x[:, [1]])])
        assert torch.equal(network(x), expected)


class TestTSSFeatures:
    @pytest.mark.parametrize("dimensions", [2, 3])
    @pytest.mark.parametrize(("modalities", "chunk"), [(["B", "A"], 1), (["A"], 5), (["A", "B"], 1000)])
    def test_features_are_channel_means_of_the_encoders_maps(self, make_network, dimensions, modalities, chunk) -> None:
        network = make_network(dimensions, tss=HEAD | {"modalities": modalities}, norm="BatchNorm").train()
        volumes = torch.randn(2, 3, 6, 32, 32)
        features = network.tss_features(volumes, chunk)
        torch.testing.assert_close(features, naive_features(network, volumes))

    def test_odd_sizes_fit_the_head(self, make_network) -> None:
        for dimensions in (2, 3):
            network = make_network(dimensions, tss=HEAD | {"slices": 5, "size": [33, 39]})
            features = network.tss_features(torch.randn(1, 3, 5, 33, 39), chunk=4)
            assert features.shape[1:] == (2 * network.level.positions, network.level.height, network.level.width)
            assert network.tss(features, torch.ones(1, 5, dtype=torch.bool)).shape == (1,)

    @pytest.mark.parametrize("dimensions", [2, 3])
    def test_gradient_never_reaches_the_encoders_and_buffers_stay(self, make_network, dimensions) -> None:
        network = make_network(dimensions, tss=HEAD, norm="BatchNorm").train()
        network.tss.requires_grad_(True)
        before = {name: value.clone() for name, value in network.branches.state_dict().items()}
        features = network.tss_features(torch.randn(2, 3, 6, 32, 32), chunk=4)
        assert not features.requires_grad
        network.tss(features, torch.ones(2, 6, dtype=torch.bool)).sum().backward()
        assert all(p.grad is None for p in network.branches.parameters())
        assert any(p.grad is not None for p in network.tss.parameters())
        assert all(torch.equal(value, before[name]) for name, value in network.branches.state_dict().items())


def test_head_waits_frozen_until_its_phase(make_network) -> None:
    network = make_network(tss=HEAD)
    waiting = {name for name, p in network.named_parameters() if not p.requires_grad}
    assert waiting and waiting == {name for name, _ in network.named_parameters() if name.startswith("tss.")}


def test_network_without_tss_has_no_head(make_network) -> None:
    network = make_network()
    assert network.tss is None
    assert not [name for name in network.state_dict() if name.startswith("tss")]
