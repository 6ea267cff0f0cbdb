"""The probability of TSS < 4.5 h (rho of Eq. 16) that trained heads give to one preprocessed case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isnan
from typing import Any

import torch
from torch import Tensor

from nnunet_mgcl.data.layout import FoldLayout
from nnunet_mgcl.network.mgcl_network import MGCLNetwork
from nnunet_mgcl.network.tss_classifier import TSSClassifier
from nnunet_mgcl.network.tss_heads import KINDS
from nnunet_mgcl.plan.config import MGCLConfig
from nnunet_mgcl.system.safe_loading import load_weights
from nnunet_mgcl.tss.volumes import fit_volume

PHASE = "tss"


def encoder_chunk(configuration: Any) -> int:
    """Samples that pass a frozen encoder together: the plan's batch, for which it budgeted the memory."""
    return configuration.batch_size


def tss_probability(network: MGCLNetwork, image: Tensor, config: MGCLConfig, configuration: Any) -> float | None:
    """The probability of TSS < 4.5 h (rho of Eq. 16) of one preprocessed case `(C, Z, Y, X)`.

    Returns:
        None where the network has no head or an untrained one (nnU-Net's `checkpoint_best`), where none of the head's
        modalities is there (`network.present`), and where the head has no fit for those that are.
    """
    if network.tss is None or not bool(network.tss.trained):
        return None
    return tss_probabilities(network, {"tss": network.tss}, image, config, configuration).get("tss")


def tss_probabilities(
    network: MGCLNetwork, heads: Mapping[str, TSSClassifier], image: Tensor, config: MGCLConfig, configuration: Any
) -> dict[str, float]:
    """What each of some trained heads says of one preprocessed case `(C, Z, Y, X)`, if anything."""
    if not any(network.tss_present):
        return {}
    network.eval()
    with torch.inference_mode():
        inputs, valid = read_inputs(network, heads.values(), image, config, configuration)
        there = None if all(network.tss_present) else torch.tensor([network.tss_present], device=valid.device)
        logits = {name: head.eval()(inputs[head.reads], valid, there) for name, head in heads.items()}
        said = {name: float(torch.sigmoid(logit)[0]) for name, logit in logits.items()}
        return {name: probability for name, probability in said.items() if not isnan(probability)}


def read_inputs(
    network: MGCLNetwork, heads: Iterable[TSSClassifier], image: Tensor, config: MGCLConfig, configuration: Any
) -> tuple[dict[str, Tensor], Tensor]:
    """What heads read of one preprocessed case `(C, Z, Y, X)`, by `TSSClassifier.reads`, and its real slices `(1, b)`.

    This is the one way to it for training the lesion head, for validation and for prediction.
    """
    device = next(network.parameters()).device
    volume, valid = fit_volume(image.float(), config.tss)
    volume, valid = volume[None].to(device), valid[None].to(device)
    return network.tss_inputs(volume, valid, encoder_chunk(configuration), heads), valid


def load_head(head: TSSClassifier, fold: FoldLayout, kind: str) -> None:
    """Loads what the phase left of a head."""
    weights = fold.phase(PHASE, kind) / "network.pth"
    head.load_state_dict(load_weights(weights, head.trained.device))


def trained_heads(fold: FoldLayout) -> list[str]:
    """The heads that the phase left, by name."""
    return [kind for kind in KINDS if (fold.phase(PHASE, kind) / "network.pth").is_file()]
