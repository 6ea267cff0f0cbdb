"""One modality's U-Net, and the parts of it that a phase hands on."""

from __future__ import annotations

from typing import Any

from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager
from torch import Tensor, nn
from torch._dynamo import OptimizedModule
from torch.nn.parallel import DistributedDataParallel

from nnunet_mgcl.system.errors import UserError, reason
from nnunet_mgcl.system.safe_loading import require_layers

StateDict = dict[str, Tensor]

UNet = Any
"""Any architecture with `encoder` and `decoder`; dynamic-network-architectures gives them no common type."""


def build_branch(
    configuration: ConfigurationManager, in_channels: int, out_channels: int, deep_supervision: bool
) -> UNet:
    """Builds one U-Net of whatever architecture the plan names, He-initialised by nnU-Net.

    It must have an `encoder` that returns one map a level and a `decoder` with `seg_layers`, as all U-Nets of
    dynamic-network-architectures do.

    Raises:
        UserError: The plan's architecture is unknown, or does not take its arguments.
    """
    require_layers(configuration)
    try:
        return get_network_from_plans(
            configuration.network_arch_class_name,
            configuration.network_arch_init_kwargs,
            configuration.network_arch_init_kwargs_req_import,
            in_channels,
            out_channels,
            allow_init=True,
            deep_supervision=deep_supervision,
        )
    except Exception as error:  # whatever an architecture says of its arguments
        raise UserError(
            f"architecture {configuration.network_arch_class_name}", f"cannot be built ({reason(error)})",
            "a network of the plan", "mend architecture in the plans file, or plan the dataset again",
        ) from error  # fmt: skip


def unwrap(module: nn.Module) -> nn.Module:
    """The module inside DDP and torch.compile."""
    if isinstance(module, DistributedDataParallel):
        module = module.module
    return module._orig_mod if isinstance(module, OptimizedModule) else module


def encoder_state(unet: UNet) -> StateDict:
    """The encoder's parameters and buffers: what `coarse` hands on."""
    return unet.encoder.state_dict()


def decoder_state(unet: UNet) -> StateDict:
    """The decoder's parameters and buffers without segmentation layers: what `fine` hands on.

    The decoder of dynamic-network-architectures registers the encoder a second time; it is left out.
    """
    return own_layers(unet.decoder.state_dict())


def own_layers(decoder: StateDict) -> StateDict:
    """A decoder's state without the encoder and the segmentation layers."""
    return {key: value for key, value in decoder.items() if not key.startswith(("encoder.", "seg_layers."))}


def load_unet(unet: UNet, state: StateDict) -> None:
    """Loads a whole U-Net, segmentation layers included.

    One of two classes, background and lesion, also fits a U-Net with one output: sigmoid(z_1 - z_0) is the softmax.
    """
    kept, own = dict(state), unet.state_dict()
    for key in [key for key in state if ".seg_layers." in key]:
        if len(own[key]) == 1 and len(state[key]) == 2:
            kept[key] = state[key][1:] - state[key][:1]
    unet.load_state_dict(kept)


def load_encoder(unet: UNet, state: StateDict) -> None:
    """Loads what `encoder_state` returned; every key must match."""
    unet.encoder.load_state_dict(state)


def load_decoder(unet: UNet, state: StateDict) -> None:
    """Loads what `decoder_state` returned; segmentation layers keep their initialisation."""
    missing, unexpected = unet.decoder.load_state_dict(state, strict=False)
    lost = [key for key in missing if not key.startswith(("encoder.", "seg_layers."))]
    if lost or unexpected:
        raise KeyError(f"decoder weights do not fit: missing {lost}, unexpected {unexpected}")
