from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nnunet_mgcl.network.tss_heads import HEADS, MLPHead, TransformerHead, build_tss_head

BATCH, TOKENS, SIZE = 3, 6, (9, 12)


@pytest.fixture(params=HEADS)
def head(request: pytest.FixtureRequest) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_tss_head(request.param, TOKENS, *SIZE, grid=4, heads=4)


@pytest.fixture
def features() -> Tensor:
    return torch.randn(BATCH, TOKENS, *SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def valid() -> Tensor:
    """The second case lacks its last two tokens, the third has one token."""
    valid = torch.ones(BATCH, TOKENS, dtype=torch.bool)
    valid[1, 4:] = False
    valid[2, 1:] = False
    return valid


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("poison", [1e6, torch.nan, torch.inf])
def test_content_of_padded_tokens_changes_no_bit(head, features, valid, poison, training) -> None:
    head.train(training)
    with torch.inference_mode(not training):
        expected = head(features, valid)
        assert expected.isfinite().all()
        assert torch.equal(head(features.masked_fill(~valid[:, :, None, None], poison), valid), expected)


def test_padding_differs_from_slices_of_zeros(head, features, valid) -> None:
    zeros = features.masked_fill(~valid[:, :, None, None], 0)
    everything = torch.ones_like(valid)
    assert not torch.isclose(head(zeros, valid), head(zeros, everything))[1:].any()


@pytest.mark.parametrize("training", [True, False])
def test_padded_transformer_is_one_of_fewer_tokens(features, training) -> None:
    valid = torch.ones(BATCH, TOKENS, dtype=torch.bool)
    valid[:, 4:] = False
    padded, short = TransformerHead(TOKENS, *SIZE).train(training), TransformerHead(4, *SIZE).train(training)
    state = padded.state_dict()
    short.load_state_dict({**state, "position": state["position"][:4]})
    torch.testing.assert_close(padded(features, valid), short(features[:, :4], valid[:, :4]))


def test_a_case_does_not_depend_on_its_batch(head, features, valid) -> None:
    alone = torch.cat([head(features[i : i + 1], valid[i : i + 1]) for i in range(BATCH)])
    torch.testing.assert_close(head(features, valid), alone)


def test_every_valid_token_matters(head, features, valid) -> None:
    before = head(features, valid)
    for case, token in valid.nonzero().tolist():
        changed = features.clone()
        changed[case, token, 2, 3] += 100
        moved = ~torch.isclose(head(changed, valid), before)
        assert moved.nonzero().flatten().tolist() == [case]


def test_every_parameter_is_trained(head, features) -> None:
    head(features, torch.ones(BATCH, TOKENS, dtype=torch.bool)).square().sum().backward()
    assert [name for name, p in head.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_padded_tokens_get_finite_gradients(head, features, valid) -> None:
    features.requires_grad_()
    head(features, valid).sum().backward()
    assert features.grad[~valid].eq(0).all()
    assert features.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in head.parameters())


def test_logits_are_in_full_precision_under_autocast(head, features, valid) -> None:
    expected = head(features, valid)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(head(features, valid), expected)
    assert head(features.bfloat16(), valid).dtype == torch.float32


def test_case_without_a_valid_token_stays_finite(features) -> None:
    head = build_tss_head("mrff", TOKENS, *SIZE, grid=4, heads=4)
    assert head(features * torch.nan, torch.zeros(BATCH, TOKENS, dtype=torch.bool)).eq(0).all()


def test_names_build_the_heads_of_table_5() -> None:
    assert isinstance(build_tss_head("mlp", 2, 8, 8, 4, 4), MLPHead)
    assert isinstance(build_tss_head("transformer", 2, 8, 8, 4, 3), TransformerHead)
    with pytest.raises(ValueError, match="expected one of mrff, mrff_lesion, mlp, transformer"):
        build_tss_head("svm", 2, 8, 8, 4, 4)
