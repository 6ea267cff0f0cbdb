"""A branch without images: what the others say of it, re-derived branch by branch."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from nnunet_mgcl.network.feature_level import FeatureLevel
from nnunet_mgcl.network.fusion import CombinationFusion, SharedFusion
from nnunet_mgcl.network.lesion_head import LesionHead
from nnunet_mgcl.network.tss_classifier import TSSClassifier
from nnunet_mgcl.network.tss_heads import HEADS
from nnunet_mgcl.tss.lesion_fit import fit_lesion_head, fit_subset
from nnunet_mgcl.tss.phase import draw_present

BITS = torch.tensor([[label >> bit & 1 for bit in range(3)] for label in range(8)])
SUBSETS = [subset for subset in product((False, True), repeat=3) if any(subset)]


@pytest.mark.parametrize("subset", SUBSETS)
def test_only_lesions_of_what_is_there_are_segmented(subset) -> None:
    """And where each is, the others' absence changes nothing."""
    logits = 4 * torch.randn(3, 2, 1, 5, 5)
    computed = [own if there else None for own, there in zip(logits, subset, strict=True)]
    said = CombinationFusion(BITS)(computed, torch.tensor([subset])).softmax(1)
    for index in range(3):
        found, wanted = said[:, BITS[:, index].bool()].sum(1), logits[index, :, 0].sigmoid() * subset[index]
        torch.testing.assert_close(found, wanted)
        assert torch.equal(BITS[said.argmax(1), index].bool(), (logits[index, :, 0] > 0) & subset[index])


def test_shared_weights_are_scaled_to_the_sum_of_all() -> None:
    fusion, logits = SharedFusion(3, 2), torch.randn(3, 2, 2, 4, 4)
    with torch.no_grad():
        fusion.weight.copy_(torch.tensor([[0.5, -0.4], [0.25, 0.9], [0.05, 0.1]]))
    found = fusion([logits[0], None, logits[2]], torch.tensor([[True, False, True]]))
    scale = 0.8 / 0.55
    torch.testing.assert_close(found[:, 0], scale * (0.5 * logits[0, :, 0] + 0.05 * logits[2, :, 0]))
    alike = 0.6 / 2  # the sum of -0.4 and 0.1 has the wrong sign
    torch.testing.assert_close(found[:, 1], alike * (logits[0, :, 1] + logits[2, :, 1]))
    alone = fusion([None, logits[1], None], torch.tensor([[False, True, False]]))
    torch.testing.assert_close(alone, logits[1] * torch.tensor([0.8, 0.6]).view(1, 2, 1, 1))


@pytest.mark.parametrize("masks", [False, True])
def test_cases_of_a_batch_are_read_as_each_by_itself(make_network, masks) -> None:
    """By the branches that it has; another branch's input and weights get no gradient from it."""
    network, x = make_network(masks=masks, tss={"grid": 2, "heads": 2}), torch.randn(3, 3, 32, 32)
    cases, volumes = torch.tensor([[True, True], [True, False], [False, True]]), torch.randn(3, 3, 6, 32, 32)
    if not masks:
        torch.nn.init.uniform_(network.fusion.weight)
    x.requires_grad_()
    with network.with_cases(cases):
        together = network(x)
    (gradient,) = torch.autograd.grad(together.square().sum(), x)
    lesions = network.lesion_probabilities(volumes, 4, False, cases)
    for number, own in enumerate(cases.tolist()):
        part = slice(number, number + 1)
        with network.with_present([branch for branch, there in enumerate(own) if there]):
            torch.testing.assert_close(network(x[part]), together[part])
            torch.testing.assert_close(network.lesion_probabilities(volumes[part], 4, False), lesions[part])
        for branch, there in enumerate(own):
            assert gradient[number, network.channels[branch]].any() == there
    assert network.cases is None and not torch.equal(network(x), together)


@pytest.mark.parametrize("masks", [False, True])
def test_an_absent_branch_is_not_read(make_network, masks) -> None:
    """What its channels hold changes neither the segmentation nor what the heads read."""
    network = make_network(masks=masks, tss={"grid": 2, "heads": 2}).eval()
    x, volumes = torch.randn(2, 3, 32, 32), torch.randn(2, 3, 6, 32, 32)
    spoiled = [each.clone() for each in (x, volumes)]
    for each in spoiled:
        each[:, network.channels[0]] = torch.nan
    whole = network(x)
    with network.with_present([1]):
        assert network.tss_present == [index == 1 for index in network.tss_branches]
        for read in (
            network,
            lambda v: network.tss_features(v, 4),
            lambda v: network.lesion_probabilities(v, 4, False),
        ):
            first, second = (read(own[0] if read is network else own[1]) for own in ((x, volumes), spoiled))
            assert first.isfinite().all() and torch.equal(first, second)
        missing = network.tss_branches.index(0)
        assert not network.lesion_probabilities(volumes, 4, False)[:, missing].any()
    assert torch.equal(network(x), whole)


@pytest.mark.parametrize("kind", [*HEADS])
def test_tokens_of_what_is_missing_change_nothing(kind) -> None:
    torch.manual_seed(0)
    head = TSSClassifier(kind, [[0], [1], [2]], FeatureLevel(2, 4, 8, 8), 2, 2).eval()
    features, valid = torch.randn(5, 12, 8, 8), torch.ones(5, 4, dtype=torch.bool)
    present = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 0, 1], [1, 1, 0], [0, 1, 0]], dtype=torch.bool)
    spoiled = features.clone()
    spoiled[~present.repeat_interleave(4, dim=1)] = 1e3
    assert torch.equal(head(features, valid, present), head(spoiled, valid, present))
    assert torch.equal(head(features, valid, present)[:1], head(features, valid)[:1])
    assert not torch.equal(head(features, valid, present)[1:], head(features, valid)[1:])


def test_every_set_of_modalities_has_its_fit_of_its_own_measures() -> None:
    """Each is the plain regression of what there is; what is missing weighs nothing."""
    random = np.random.default_rng(0)
    measures = torch.from_numpy(random.normal(size=(40, 7))).float()  # shares of 3 modalities, contrasts of 2 + 1 + 1
    positive = (measures[:, 1] + measures[:, 6] > 0).tolist()
    head, plain = LesionHead([2, 1, 1]), LesionHead([2, 1, 1])
    fit_lesion_head(head, measures, positive)
    for subset in head.proper_subsets():
        fit_subset(head, subset, measures, positive)
    columns = {0: [0, 3, 4], 1: [1, 5], 2: [2, 6]}
    for subset in SUBSETS:
        own = sorted(column for index in range(3) if subset[index] for column in columns[index])
        present = torch.tensor([subset]).expand(40, -1)
        other = LesionHead([len(own) - 1])
        fit_lesion_head(other, measures[:, own], positive)
        spoiled = measures.clone()
        spoiled[:, [column for column in range(7) if column not in own]] = 1e3
        torch.testing.assert_close(head(spoiled, present), other(measures[:, own]), rtol=1e-4, atol=1e-4)
    assert torch.equal(head(measures, torch.ones(40, 3, dtype=torch.bool)), head(measures))
    earlier = {name: value for name, value in head.state_dict().items() if name != "subsets"}
    plain.load_state_dict(earlier)  # of a version that knew no subsets
    assert torch.equal(plain(measures), head(measures))
    assert plain(measures, torch.tensor([[True, False, True]]).expand(40, -1)).isnan().all()


def test_dropout_leaves_one_modality_at_least_and_others_as_often_as_asked() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    everything = torch.ones(20_000, 3, dtype=torch.bool)
    assert draw_present(everything, 0.0).all() and torch.equal(torch.get_rng_state(), before)
    present = draw_present(everything, 0.3)
    assert present.any(dim=1).all()
    assert present.float().mean(dim=0).tolist() == pytest.approx([0.7 + 0.3**3 / 3] * 3, abs=0.01)
    assert draw_present(everything[:500], 0.99).sum(dim=1).float().mean() < 1.1
    some = torch.tensor([[True, False, True]]).expand(500, -1)
    assert not (present := draw_present(some, 0.9))[:, 1].any() and present.any(dim=1).all()
