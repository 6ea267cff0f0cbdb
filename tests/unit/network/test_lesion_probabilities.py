from __future__ import annotations

import pytest
import torch

from nnunet_mgcl.network.tss_heads import FEATURES, LESIONS, MEASURES


@pytest.fixture
def volumes():
    return torch.randn(2, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("deep_supervision", [False, True])
def test_with_masks_they_are_the_sigmoids_of_the_seen_branches(make_network, volumes, deep_supervision) -> None:
    network = make_network(tss={"modalities": ["B"]}, masks=True, deep_supervision=deep_supervision)
    found = network.lesion_probabilities(volumes, chunk=3, regions=False)
    network.deep_supervision = False
    branch, channels = network.branches[network.tss_branches[0]], network.channels[network.tss_branches[0]]
    with torch.no_grad():
        expected = [branch(volumes[:, channels, z]).sigmoid() for z in range(4)]
    torch.testing.assert_close(found, torch.stack(expected, dim=2))


@pytest.mark.parametrize("regions", [False, True])
def test_shared_labels_have_one_foreground_for_all(make_network, volumes, regions) -> None:
    network = make_network(3, tss={})
    found = network.lesion_probabilities(volumes, chunk=1, regions=regions)
    with torch.no_grad():
        logits = network.eval()(volumes)
    foreground = logits.sigmoid().amax(1) if regions else logits.softmax(1)[:, 1:].sum(1)
    assert found.shape == (2, len(network.tss_branches), 4, 32, 32)
    for modality in found.unbind(1):
        torch.testing.assert_close(modality, foreground)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_any_size_passes_the_branches(make_network, dimensions) -> None:
    network = make_network(dimensions, tss={}, masks=True)
    odd = torch.randn(1, 3, 5, 33, 39)
    assert network.lesion_probabilities(odd, 4, False).shape == (1, len(network.tss_branches), 5, 33, 39)


def test_buffers_and_gradients_stay(make_network, volumes) -> None:
    network = make_network(tss={}, norm="BatchNorm").train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = network.lesion_probabilities(volumes, 4, False)
    assert not found.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(("kind", "reads"), [("lesion", MEASURES), ("mrff_lesion", LESIONS), ("mlp", FEATURES)])
def test_each_head_gets_what_it_reads_and_answers(make_network, kind, reads) -> None:
    network = make_network(tss={"head": kind, "size": [32, 64]}, masks=True)
    volumes, valid = torch.randn(2, 3, 6, 32, 64), torch.ones(2, 6, dtype=torch.bool)
    inputs = network.tss_inputs(volumes, valid, 4, [network.tss])
    assert list(inputs) == [reads]
    assert reads == MEASURES or inputs[reads].shape == (2, 12, network.level.height, network.level.width)
    assert network.tss(inputs[reads], valid).shape == (2,)
    assert ("regions" in network.tss.state_dict()) == (reads != FEATURES)
