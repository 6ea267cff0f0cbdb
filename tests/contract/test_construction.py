"""nnU-Net reads the constructor's arguments by name, and the plans before the trainer can change them again."""

from __future__ import annotations

import inspect
import json
from copy import deepcopy

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_mgcl.plan.config import config_model
from nnunet_mgcl.training.variants import MGCLTrainer, MGCLTrainerCoarse, MGCLTrainerRandomInit

TRAINERS = [MGCLTrainer, MGCLTrainerCoarse, MGCLTrainerRandomInit]


@pytest.mark.parametrize("method", ["__init__", "build_network_architecture"])
@pytest.mark.parametrize("trainer", TRAINERS)
def test_signature_is_nnunet_s(trainer, method) -> None:
    ours, theirs = (inspect.signature(getattr(cls, method)).parameters for cls in (trainer, nnUNetTrainer))
    static = isinstance(inspect.getattr_static(trainer, method), staticmethod)
    assert list(ours) == list(theirs) and static == (method != "__init__")
    assert [p.default for p in ours.values()] == [p.default for p in theirs.values()]
    assert [p.kind for p in ours.values()] == [p.kind for p in theirs.values()]


def test_block_is_whole_when_nnunet_reads_the_plans(make_trainer, monkeypatch) -> None:
    seen = []
    init = nnUNetTrainer.__init__

    def spy(self, plans, configuration, *rest):
        seen.append(deepcopy(plans["configurations"][configuration]["mgcl"]))
        init(self, plans, configuration, *rest)

    monkeypatch.setattr(nnUNetTrainer, "__init__", spy)
    trainer = make_trainer()
    config = config_model(trainer.blocks).model_validate(seen[0])
    assert config.model_dump() == trainer.config.model_dump()
    assert config.modalities == {"DWI": [0], "FLAIR": [1], "PWI": [2]}
    assert (config.tss.enabled, config.tss.slices, config.tss.size) == (True, 6, [32, 32])
    assert trainer.configuration_manager.configuration["mgcl"] == seen[0]


def test_block_does_not_depend_on_the_fold(make_trainer) -> None:
    blocks = [make_trainer(fold=fold).plans_manager.plans for fold in (0, 1, "all")]
    assert blocks[0] == blocks[1] == blocks[2]


def test_resolving_a_resolved_plan_changes_nothing(make_trainer) -> None:
    first = make_trainer().plans_manager.plans
    again = make_trainer(own_plans=json.loads(json.dumps(first))).plans_manager.plans
    assert first == again


def test_inherited_block_is_merged_key_by_key(make_trainer, plans) -> None:
    plans["configurations"]["2d"]["mgcl"] = {"coarse": {"epochs": 7, "lr": 0.5}, "tss": {"grid": 2}}
    plans["configurations"]["2d_heir"]["mgcl"] = {"coarse": {"epochs": 3}}
    trainer = make_trainer(configuration="2d_heir")
    written = trainer.configuration_manager.configuration["mgcl"]
    for config in (trainer.config, config_model(trainer.blocks).model_validate(written)):
        assert (config.coarse.epochs, config.coarse.lr, config.tss.grid) == (3, 0.5, 2)
    assert trainer.configuration_manager.batch_size == 3  # the heir's own
    assert trainer.configuration_manager.patch_size == [32, 32]  # inherited


def test_numbers_of_segment_become_nnunet_s(make_trainer) -> None:
    segment = {"epochs": 11, "iterations": 5, "val_iterations": 2, "lr": 0.1, "weight_decay": 0.3}
    trainer = make_trainer(mgcl={"segment": segment})
    assert (trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch) == (11, 5, 2)
    assert (trainer.initial_lr, trainer.weight_decay) == (0.1, 0.3)


def test_initialisation_is_the_seed_s_and_the_fold_s(make_trainer) -> None:
    def weights(**arguments):
        torch.seed()  # whatever happened before
        trainer = make_trainer(**arguments)
        trainer.initialize()
        return trainer.network.branches[0].encoder.stages[0][0].convs[0].conv.weight

    assert torch.equal(weights(fold=0), weights(fold=0))
    assert not torch.equal(weights(fold=0), weights(fold=1))
    assert not torch.equal(weights(fold=0), weights(fold=0, mgcl={"random_seed": 7}))


def test_split_is_nnunet_s_and_no_fold_is_beyond_it(make_trainer, workspace) -> None:
    with pytest.raises(SystemExit, match="fold 2"):
        make_trainer(fold=2)
    assert not list(workspace.glob("results/**/fold_*"))
    assert make_trainer(fold=1).do_split() == (["case_2", "case_3"], ["case_0", "case_1"])
    train, val = make_trainer(fold="all").do_split()
    assert sorted(train) == sorted(val) == ["case_0", "case_1", "case_2", "case_3"]


@pytest.mark.parametrize(("wish", "compiles"), [(None, True), ("f", False), ("t", True)])
def test_wish_to_compile_is_nnunet_s(make_trainer, monkeypatch, wish, compiles) -> None:
    monkeypatch.delenv("nnUNet_compile", raising=False)
    if wish:
        monkeypatch.setenv("nnUNet_compile", wish)
    trainer = make_trainer()
    assert trainer._do_i_compile() is False  # on a CPU, whatever is wished
    trainer.device = torch.device("cuda")
    assert trainer._do_i_compile() is compiles
