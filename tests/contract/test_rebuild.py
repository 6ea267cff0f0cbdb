"""The stock predictor rebuilds the network from plans.json alone, by a static method."""

from __future__ import annotations

import json

import pytest
import torch
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

INPUT = {"2d": (2, 3, 32, 32), "3d_fullres": (1, 3, 6, 32, 32)}


def rebuilt(trainer, monkeypatch):
    """The network as a machine builds it that has the results folder and nothing else."""
    plans = json.loads(json.dumps(trainer.plans_manager.plans))
    dataset_json = json.loads(json.dumps(trainer.dataset_json))
    for variable in ("raw", "preprocessed", "results"):
        monkeypatch.delenv(f"nnUNet_{variable}")
    manager = PlansManager(plans)
    configuration = manager.get_configuration(trainer.configuration_name)
    return type(trainer).build_network_architecture(
        manager,
        configuration,
        determine_num_input_channels(manager, configuration, dataset_json),
        manager.get_label_manager(dataset_json).num_segmentation_heads,
        enable_deep_supervision=False,
    )


@pytest.mark.parametrize("configuration", INPUT)
@pytest.mark.parametrize("tss", [True, False])
@pytest.mark.parametrize(("labels", "outputs"), [("shared", 2), ("masks", 4), ("masks, ignore", 4)])
def test_weights_fit_strictly_and_give_the_same_logits(
    make_trainer, monkeypatch, configuration, tss, labels, outputs
) -> None:
    trainer = make_trainer(configuration=configuration, tss=tss, labels=labels)
    trainer.initialize()
    trainer.set_deep_supervision_enabled(False)
    network = rebuilt(trainer, monkeypatch)
    assert (network.tss is not None) is tss
    network.load_state_dict(trainer.network.state_dict(), strict=True)
    x = torch.randn(INPUT[configuration])
    logits = network(x)
    assert torch.is_tensor(logits) and logits.shape[1] == outputs
    assert torch.equal(logits, trainer.network(x))
    if tss:
        volume, valid = torch.randn(1, 3, 6, 32, 32), torch.ones(1, 6, dtype=torch.bool)
        first, second = (net.tss(net.tss_features(volume, 4), valid) for net in (network, trainer.network))
        assert torch.equal(first, second)


def test_residual_encoders_are_built_too(make_trainer, plans, monkeypatch) -> None:
    architecture = plans["configurations"]["2d"]["architecture"]
    architecture["network_class_name"] = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
    architecture["arch_kwargs"]["n_blocks_per_stage"] = architecture["arch_kwargs"].pop("n_conv_per_stage")
    trainer = make_trainer()
    trainer.initialize()
    trainer.set_deep_supervision_enabled(False)
    network = rebuilt(trainer, monkeypatch)
    network.load_state_dict(trainer.network.state_dict(), strict=True)
    x = torch.randn(INPUT["2d"])
    assert torch.equal(network(x), trainer.network(x))


def test_what_a_plan_may_change_survives_the_round_trip(make_trainer, monkeypatch) -> None:
    mgcl = {"tss": {"head": "mlp", "modalities": ["PWI"], "slices": 9, "size": [40, 24], "grid": 2}}
    trainer = make_trainer(mgcl=mgcl)
    network = rebuilt(trainer, monkeypatch)
    assert network.tss_branches == [2]
    assert (network.level.positions, network.level.height, network.level.width) == (9, 20, 12)
    assert type(network.tss.head).__name__ == "MLPHead"


def test_channels_and_labels_keep_their_order(make_trainer, monkeypatch) -> None:
    groups = {"modalities": {"B": [2, 0], "A": [1]}, "lesion_labels": {"B": [2, 3], "A": [1, 2]}}
    labels = {"labels": {"background": 0, "only A": 1, "both": 2, "only B": 3}, "mgcl": groups}
    network = rebuilt(make_trainer(labels=labels), monkeypatch)
    assert network.channels == [[2, 0], [1]]
    assert network.fusion.membership.tolist() == [[0, 0], [0, 1], [1, 1], [1, 0]]
