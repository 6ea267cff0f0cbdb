from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_mgcl.network.branch import build_branch, decoder_state, encoder_state, load_decoder, load_encoder, unwrap

ARCHITECTURES = ["PlainConvUNet", "ResidualEncoderUNet"]


@pytest.fixture(params=ARCHITECTURES)
def make_unet(request, plans):
    plans = deepcopy(plans)
    architecture = plans["configurations"]["2d"]["architecture"]
    architecture["network_class_name"] = f"dynamic_network_architectures.architectures.unet.{request.param}"
    kwargs = architecture["arch_kwargs"]
    kwargs["norm_op"] = "torch.nn.BatchNorm2d"  # so that there are buffers to hand on
    if request.param == "ResidualEncoderUNet":
        kwargs["n_blocks_per_stage"] = kwargs.pop("n_conv_per_stage")
    configuration = PlansManager(plans).get_configuration("2d")

    def make(seed, outputs=2):
        torch.manual_seed(seed)
        unet = build_branch(configuration, 1, outputs, deep_supervision=False)
        for buffer in unet.buffers():  # as after some training
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 2)
        return unet

    return make


def test_encoder_survives_a_round_trip_bit_for_bit(make_unet, tmp_path) -> None:
    source, target = make_unet(0), make_unet(1)
    torch.save(encoder_state(source), tmp_path / "encoder.pth")
    before = deepcopy(decoder_state(target))
    load_encoder(target, torch.load(tmp_path / "encoder.pth", weights_only=True))
    for name, value in source.encoder.state_dict().items():
        assert torch.equal(target.encoder.state_dict()[name], value)
    assert all(torch.equal(value, before[name]) for name, value in decoder_state(target).items())


def test_decoder_survives_a_round_trip_but_for_its_segmentation_layers(make_unet, tmp_path) -> None:
    source, target = make_unet(0), make_unet(1, outputs=5)
    torch.save(decoder_state(source), tmp_path / "decoder.pth")
    before = deepcopy(target.state_dict())
    load_decoder(target, torch.load(tmp_path / "decoder.pth", weights_only=True))
    moved = 0
    for name, value in target.state_dict().items():
        if name.startswith("decoder.") and not name.startswith(("decoder.encoder.", "decoder.seg_layers.")):
            assert torch.equal(value, source.state_dict()[name])
            moved += not torch.equal(value, before[name])
        else:
            assert torch.equal(value, before[name])
    assert moved > 4


def test_both_parts_and_the_segmentation_layers_make_the_whole_network(make_unet) -> None:
    source, target = make_unet(0).eval(), make_unet(1).eval()
    load_encoder(target, encoder_state(source))
    load_decoder(target, decoder_state(source))
    x = torch.randn(2, 1, 32, 32)
    assert not torch.equal(target(x), source(x))
    target.decoder.seg_layers.load_state_dict(source.decoder.seg_layers.state_dict())
    assert torch.equal(target(x), source(x))


@pytest.mark.parametrize("damage", ["missing", "unexpected"])
def test_decoder_weights_that_do_not_fit_are_refused_by_name(make_unet, damage) -> None:
    unet = make_unet(0)
    state = decoder_state(unet)
    name = next(iter(state))
    if damage == "missing":
        del state[name]
    else:
        name = "stages.99.weight"
        state[name] = torch.zeros(1)
    with pytest.raises(KeyError, match=name):
        load_decoder(unet, state)


def test_encoder_weights_must_fit_in_every_key(make_unet) -> None:
    unet = make_unet(0)
    state = encoder_state(unet)
    del state[next(iter(state))]
    with pytest.raises(RuntimeError, match="Missing key"):
        load_encoder(unet, state)


def test_unwrap_finds_the_module_inside_torch_compile() -> None:
    module = torch.nn.Linear(1, 1)
    assert unwrap(module) is module
    assert unwrap(torch.compile(module)) is module
