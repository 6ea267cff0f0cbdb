"""One process that torchrun might have started: which device, what is refused, and how it goes on after a restart."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from nnunetv2.run import run_training
from torch.nn.parallel import DistributedDataParallel

from nnunet_mgcl.data.layout import DatasetLayout
from nnunet_mgcl.engine import ranks
from nnunet_mgcl.training import distributed
from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer

ARGUMENTS = ("901", "2d", "0", "-device", "cpu")


@pytest.fixture
def launched(monkeypatch):
    """As torchrun sets the environment of the only process."""
    port = str(run_training.find_free_network_port())
    told = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1", "MASTER_PORT": port}
    for name, value in (told | {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RESTART_COUNT": "0"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    yield monkeypatch
    if dist.is_initialized():
        dist.destroy_process_group()


@pytest.fixture
def group(launched):
    """The only process of a group."""
    dist.init_process_group("gloo")


@pytest.fixture
def refused(launched, capsys):
    def refused(*arguments: str) -> str:
        with pytest.raises(SystemExit) as error:
            distributed.main(arguments)
        assert error.value.code == 1 or str(error.value.code).startswith("\nnnunet_mgcl: ")
        said = capsys.readouterr().err + (error.value.code if isinstance(error.value.code, str) else "")
        assert said.count("remedy:") == 1 and "Traceback" not in said
        return said

    return refused


@pytest.fixture
def gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"])
def test_process_that_torchrun_has_not_started_is_refused(refused, launched, name) -> None:
    launched.delenv(name)
    assert f"no {name}: torchrun has not started" in refused(*ARGUMENTS)


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (["-num_gpus", "2"], "--nproc_per_node instead"),
        (["-num_gpus", "1"], "--nproc_per_node instead"),
        (["--c", "--val"], "--c and --val"),
        (["--c", "-pretrained_weights", "x"], "--c and -pretrained_weights"),
        (["--val_best", "--disable_checkpointing"], "--disable_checkpointing and --val_best"),
        (["-device", "mps"], "'mps'"),
        (["--unknown"], "--unknown"),
        (["-tr", "nnUNetTrainer"], "-tr nnUNetTrainer"),
        (["-p", "nnUNetPlan"], "nnUNetPlan.json"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(refused, more, part) -> None:
    assert part in refused(*ARGUMENTS, *more)


def test_fold_that_is_no_number_and_dataset_that_is_not_there_are_refused(refused, launched) -> None:
    assert "'first'" in refused("901", "2d", "first", "-device", "cpu")
    launched.setenv("MASTER_PORT", str(run_training.find_free_network_port()))
    assert "902" in refused("902", "2d", "0", "-device", "cpu")


def test_device_is_the_one_of_the_local_rank(gpus) -> None:
    assert distributed.Launch(5, 1, 2, 0).device("cuda") == torch.device("cuda", 1)
    assert distributed.Launch(5, 1, 2, 0).device("cpu") == torch.device("cpu")


def test_more_processes_than_gpus_are_refused(refused, launched, gpus) -> None:
    launched.setenv("LOCAL_RANK", "2")
    launched.setenv("LOCAL_WORLD_SIZE", "3")
    said = refused(*ARGUMENTS[:3])
    assert "3 processes for 2 GPUs" in said and "--nproc_per_node 2" in said


def test_mistake_that_several_processes_make_is_told_once(capsys) -> None:
    store = dist.HashStore()
    for _ in range(3):
        with pytest.raises(SystemExit) as error, distributed._one_message(store):
            raise SystemExit("the mistake")
        assert error.value.code == 1
    assert capsys.readouterr().err == "the mistake\n"


def test_arguments_are_those_of_nnunet(monkeypatch) -> None:
    known = []

    def parse_args(self, *_):
        known.append({word for action in self._actions for word in action.option_strings or [action.dest]})
        raise SystemExit

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
    for parse in (run_training.run_training_entry, lambda: distributed._parse([])):
        with pytest.raises(SystemExit):
            parse()
    assert known[0] == known[1]


@pytest.mark.parametrize("local", [0, 1])
def test_trainer_takes_the_gpu_that_it_is_given_not_that_of_its_rank(make_trainer, gpus, monkeypatch, local) -> None:
    device, taken = torch.device("cuda", local), []
    plain = make_trainer()
    for name, value in (("is_initialized", True), ("get_rank", 3), ("get_world_size", 4)):
        monkeypatch.setattr(dist, name, lambda value=value: value)
    content = plain.plans_manager.plans | {"continue_training": False}
    trainer = MGCLTrainer(content, "2d", 0, plain.dataset_json, device)
    assert (trainer.device, trainer.local_rank, trainer.is_ddp) == (device, 3, True)
    assert trainer.grad_scaler is not None
    monkeypatch.setattr(ranks, "DistributedDataParallel", lambda module, devices: taken.append(devices))
    ranks.in_step(torch.nn.Identity(), trainer.device)
    assert taken == [[device]]


def test_trainer_of_a_group_has_its_share_and_one_network_on_the_cpu(group, make_trainer, monkeypatch) -> None:
    trainer = make_trainer()
    assert trainer.device == torch.device("cpu") and trainer.grad_scaler is None
    monkeypatch.setattr(dist, "get_world_size", lambda *_: 4)
    monkeypatch.setattr(dist, "get_rank", lambda *_: 3)
    built = []
    monkeypatch.setattr(type(trainer), "_build_loss", lambda self: built.append(self.is_ddp) or self)
    trainer.initialize()
    assert trainer.batch_size == 3 and trainer.oversample_foreground_percent == 1.0
    assert isinstance(trainer.network, DistributedDataParallel) and trainer.network.device_ids is None
    assert built[-1] is True and trainer.loss is trainer


def test_batch_that_does_not_divide_is_refused(group, make_trainer, monkeypatch) -> None:
    trainer = make_trainer()
    for world_size in (5, 13):
        monkeypatch.setattr(dist, "get_world_size", lambda *_, size=world_size: size)
        with pytest.raises(SystemExit, match="unequal shares"):
            trainer.initialize()


def test_weights_come_onto_the_device_of_the_process(group, make_trainer, weights) -> None:
    """nnU-Net asks for the GPU of the rank's number, which this machine lacks."""
    trainer = make_trainer()
    args = SimpleNamespace(pretrained_weights=weights, val=False)
    distributed._load(trainer, args, False, trainer.device)
    assert trainer.weights_loaded and not trainer.checkpoint_loaded
    saved = torch.load(weights, weights_only=False)["network_weights"]
    own = trainer.mgcl_network.state_dict()
    assert [name for name in saved if ".seg_layers." not in name and not torch.equal(saved[name], own[name])] == []


@pytest.fixture
def trained(launched, make_trainer, plans, monkeypatch, workspace):
    """Runs the command with everything after the loading left out; returns the trainer."""
    made = []
    layout = DatasetLayout.find("901")
    layout.plans("nnUNetPlans").write_text("{}")
    monkeypatch.setattr(distributed, "load_plans", lambda *_: plans)

    def get_trainer(name, configuration, fold, trainer, plans_name, going_on, device):
        assert (name, fold, plans_name, device) == (layout.name, 0, "nnUNetPlans", torch.device("cpu"))
        made.append(make_trainer(fold=fold, continue_training=going_on))
        return made[-1]

    monkeypatch.setattr(distributed, "get_trainer_from_args", get_trainer)
    monkeypatch.setattr(MGCLTrainer, "run_training", lambda self: made.append("trained"))
    monkeypatch.setattr(MGCLTrainer, "perform_actual_validation", lambda self, npz: made.append(("validated", npz)))

    def trained(*more: str, restarts: int = 0) -> tuple[MGCLTrainer, list]:
        made.clear()
        launched.setenv("TORCHELASTIC_RESTART_COUNT", str(restarts))
        launched.setenv("MASTER_PORT", str(run_training.find_free_network_port()))
        distributed.main([*ARGUMENTS, *more])
        return made[0], made[1:]

    return trained


def test_first_attempt_begins_and_the_next_ones_go_on(trained, make_trainer) -> None:
    trainer, then = trained("--npz")
    assert not trainer.continue_training and then == ["trained", ("validated", True)]
    for more, restarts in (((), 1), ((), 2), (("--c",), 0)):
        trainer, then = trained(*more, restarts=restarts)
        assert trainer.continue_training and not trainer.checkpoint_loaded
        assert then == ["trained", ("validated", False)]
    trainer = make_trainer()
    trainer.initialize()
    trainer.current_epoch = 3
    trainer.save_checkpoint(str(trainer.fold_layout.root / "checkpoint_latest.pth"))
    assert not trained()[0].checkpoint_loaded
    assert trained(restarts=1)[0].current_epoch == 4


def test_restart_reads_nothing_that_the_attempt_before_left_in_torchruns_store(trained, launched) -> None:
    server, init, found = (
        dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False),
        dist.init_process_group,
        [],
    )
    launched.setattr(run_training, "find_free_network_port", lambda: server.port)
    launched.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")

    def spy(*arguments, store, **options):
        found.append(store.check(["address"]))
        store.set("address", "of a process that is dead by now")
        init(*arguments, store=store, **options)

    launched.setattr(dist, "init_process_group", spy)
    for restarts in (0, 1):
        trained(restarts=restarts)
    assert found == [False, False]


def test_validation_wants_a_finished_training_and_is_done_again_after_a_restart(trained, make_trainer, capsys) -> None:
    trainer = make_trainer()
    trainer.initialize()
    trainer.save_checkpoint(str(trainer.fold_layout.root / "checkpoint_latest.pth"))
    with pytest.raises(SystemExit):
        trained("--val")
    assert "a training that is finished" in capsys.readouterr().err
    dist.destroy_process_group()
    trainer.save_checkpoint(str(trainer.fold_layout.root / "checkpoint_final.pth"))
    trainer, then = trained("--val", restarts=1)
    assert trainer.checkpoint_loaded and then == [("validated", False)]


def test_restart_begins_with_the_weights_as_long_as_there_is_no_checkpoint(trained, weights) -> None:
    trainer, _ = trained("-pretrained_weights", weights, restarts=1)
    assert trainer.weights_loaded and not trainer.checkpoint_loaded and trainer.continue_training
    trainer.save_checkpoint(str(trainer.fold_layout.root / "checkpoint_latest.pth"))
    trainer, _ = trained("-pretrained_weights", weights, restarts=1)
    assert trainer.checkpoint_loaded


def test_machine_that_sees_another_results_folder_is_refused(group, make_trainer, monkeypatch, tmp_path) -> None:
    trainer = make_trainer()
    distributed._require_one_folder(trainer)
    root = trainer.fold_layout.root
    own = (Path(trainer.log_file).name, False, 0)
    for rank_0 in (("training_log_other.txt", *own[1:]), (own[0], True, 0), (own[0], False, 7)):

        def gathered(views, _, rank_0=rank_0):
            views[:] = [rank_0]

        monkeypatch.setattr(dist, "all_gather_object", gathered)
        with pytest.raises(distributed.UserError, match="not what rank 0 sees") as error:
            distributed._require_one_folder(trainer)
        assert str(root) in str(error.value)
