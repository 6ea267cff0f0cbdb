from __future__ import annotations

import shlex

import pytest
import torch

from nnunet_mgcl import cli
from nnunet_mgcl.commands.plan import parse_overrides
from nnunet_mgcl.engine.out_of_memory import explaining_out_of_memory, smaller_settings
from nnunet_mgcl.plan.memory import MemoryEstimate
from nnunet_mgcl.plan.plans import resolve_block
from nnunet_mgcl.plan.presets import apply_preset
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer

CPU = torch.device("cpu")
KEYS = {
    "seed": {"seed.batch_size": "6", "self_train.batch_size": "6"},
    "self_train": {"seed.batch_size": "6", "self_train.batch_size": "6"},
    "coarse": {"coarse.batch_size": "35"},
    "fine": {"fine.batch_size": "3"},
    "segment": {"segment.checkpointing": "true", "configuration.batch_size": "6"},
    "tss": {"tss.batch_size": "12", "configuration.batch_size": "6"},
}


@pytest.fixture
def explained(plans, dataset_json):
    """The message that a phase's error becomes."""
    plans["plans_name"] = "MyPlans"
    config = resolve_block(plans, "2d", dataset_json, True, blocks=MGCLTrainer.method_blocks())
    memory = MemoryEstimate(plans, "2d", dataset_json, config)

    def explain(phase, error=torch.OutOfMemoryError):
        with pytest.raises(UserError) as raised, explaining_out_of_memory(memory, phase, "DWI", CPU):
            raise error("CUDA out of memory. Tried to allocate 2 GiB")
        return raised.value

    return explain


@pytest.mark.parametrize("phase", KEYS)
def test_message_names_the_phase_and_the_keys_in_a_command_that_is_accepted(explained, phase, plans, dataset_json):
    error = explained(phase)
    assert error.where == f"phase {phase} (DWI)"
    command = error.remedy.split(": ", 1)[1].split(", then")[0]
    arguments = cli._parser(cli._modules()).parse_args(shlex.split(command)[1:])
    assert (arguments.d, arguments.c, arguments.p) == ("Dataset901_Tiny", ["2d"], "MyPlans")
    assert parse_overrides(arguments.set) == KEYS[phase]
    assert all(key in error.remedy.split(":")[0] for key in KEYS[phase])
    apply_preset(plans, ["2d"], {"configurations": {}}, KEYS[phase], arguments.plans_name, dataset_json, True)


@pytest.mark.parametrize("block", [{"segment": {"checkpointing": True}}, {"modalities": {"all": [0, 1, 2]}}])
def test_checkpointing_is_named_only_where_it_helps(plans, dataset_json, block):
    plans["configurations"]["2d"]["mgcl"] = block
    config = resolve_block(plans, "2d", dataset_json, True)
    assert smaller_settings(config, "segment", 12) == {"configuration.batch_size": 6}


@pytest.mark.parametrize("phase", KEYS)
def test_estimate_is_named_where_there_is_one(explained, phase):
    known = "about 0.0 GB by nnU-Net's estimate" in explained(phase).expected
    assert known == (phase != "tss")


def test_nothing_is_estimated_for_an_unknown_planner(explained, plans):
    plans["experiment_planner_used"] = "MyPlanner"
    assert "estimate" not in explained("segment").expected


def test_other_errors_pass(explained):
    with pytest.raises(ValueError, match="allocate"):
        explained("segment", ValueError)
