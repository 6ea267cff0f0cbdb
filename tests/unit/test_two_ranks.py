"""Every phase in two processes: gloo on the CPU, where nnU-Net has nccl on two GPUs.

What this cannot reach: nnU-Net's own set-up of the ranks and of the network, which want CUDA.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import nnunet_mgcl
from nnunet_mgcl.losses import contrast_chance, contrast_floor
from nnunet_mgcl.training import comparators

COMPARATORS = [name for name in vars(comparators) if name.endswith("Trainer") and name != "MGCLTrainer"]
CASCADES = ["whole", "killed", "3d"]
TRAINED = {"seed_length/A", "seed/A", "self_train/A", "coarse/A", "coarse/B", "fine/A", "fine/B", "segment"}
TRAINED |= {"tss/mrff", "tss/compared"}


@pytest.fixture(scope="module")
def outcome():
    """Filled once: the two processes run for all tests of this file together."""
    return {}


@pytest.fixture
def ranks(outcome, plans, dataset_json, tmp_path):
    """For each scenario what the two ranks recorded."""
    if "started" not in outcome:  # one attempt, also where it fails
        outcome["started"] = True
        (tmp_path / "dataset.json").write_text(json.dumps({"plans": plans, "dataset_json": dataset_json}))
        root = Path(nnunet_mgcl.__file__).parents[1]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
        worker = Path(__file__).with_name("phases_rank.py")
        processes = [
            subprocess.Popen([sys.executable, worker, str(rank), tmp_path], env=environment) for rank in (0, 1)
        ]
        try:
            assert [process.wait(timeout=240) for process in processes] == [0, 0]
        finally:
            for process in processes:
                process.kill()
        first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
        outcome |= {scenario: (first[scenario], second[scenario]) for scenario in first}
    return outcome


each_cascade = pytest.mark.parametrize("scenario", CASCADES)


@each_cascade
def test_every_module_is_trained_and_the_ranks_stay_in_step(ranks, scenario) -> None:
    first, second = ranks[scenario]
    assert first["trained"] == second["trained"]
    digests = [digest for _, digest in first["trained"]]
    parts = {part for part, _ in first["trained"]}
    assert parts == TRAINED
    assert scenario == "killed" or len(set(digests)) == len(digests)  # every epoch moved the weights


def test_ranks_draw_batches_of_their_own(ranks) -> None:
    first, second = ([loss for phase, loss in rank["losses"] if phase == "seed"] for rank in ranks["whole"])
    assert first and all(own != other for own, other in zip(first, second, strict=True))


@each_cascade
def test_recomputed_activations_change_no_bit(ranks, scenario) -> None:
    first, second = ranks[scenario]
    assert first["checkpointed"] == second["checkpointed"]
    assert len(first["checkpointed"]) == 3
    assert all(step in first["trained"] for step in first["checkpointed"])


@each_cascade
def test_ranks_hold_the_same_network_at_the_end(ranks, scenario) -> None:
    first, second = ranks[scenario]
    assert first["results"] == second["results"]


@pytest.mark.parametrize("scenario", COMPARATORS)
def test_comparators_train_the_same_network_in_every_rank(ranks, scenario) -> None:
    first, second = ranks[scenario]
    assert first["results"] == second["results"]
    assert first["trained"] and first["trained"] == second["trained"]
    assert len({digest for _, digest in first["trained"]}) == len(first["trained"])  # every epoch moved the weights


@each_cascade
def test_only_the_first_rank_writes_but_for_pseudo_labels(ranks, scenario) -> None:
    first, second = ranks[scenario]
    assert second["written"]
    assert all(path.startswith("phases/pseudo_label_") for path in second["written"])
    assert {
        "phases/state.json",
        "phases/curves.json",
        "phases/tss/mrff/network.pth",
        "phases/tss/lesion/network.pth",
    } <= set(first["written"])
    assert not [path for path in first["files"] if "checkpoint_latest" in path or ".part." in path]


@each_cascade
def test_every_pseudo_label_is_made_by_one_rank(ranks, scenario) -> None:
    own = [set(rank["labelled"]) for rank in ranks[scenario]]
    assert sum(len(rank["labelled"]) for rank in ranks[scenario]) == len(own[0]) + len(own[1])
    assert not own[0] & own[1]
    assert own[0] | own[1] == {f"pseudo_label_{n}/A/pool_{case}" for n in (1, 2) for case in (0, 1)}


def test_ranks_share_the_cases_of_every_epoch_of_tss(ranks) -> None:
    """Three cases for two ranks: one of them is seen twice."""
    first, second = (rank["volumes"] for rank in ranks["whole"])
    assert len(first) == len(second) == 4
    for own, others in zip(first, second, strict=True):
        assert len(own) == len(others) == 2
        assert {*own, *others} == {"case_0", "case_1", "case_2"}
    assert len({tuple(own) for own in first}) > 1


def test_resumed_cascade_is_bit_identical_to_an_uninterrupted_one(ranks) -> None:
    (whole, _), (killed, _) = ranks["whole"], ranks["killed"]
    assert killed["results"] == whole["results"]
    assert {tuple(epoch) for epoch in killed["trained"]} == {tuple(epoch) for epoch in whole["trained"]}


def test_loss_that_is_not_finite_on_one_rank_stops_both_with_its_cases(ranks) -> None:
    first, second = ranks["NaN"]
    assert first["error"] == second["error"]
    assert "phase fine (A), epoch 2" in first["error"] and "loss nan on the cases case_of_rank_0\n" in first["error"]
    assert first["calls"] == second["calls"] == 3


def test_classes_are_contrasted_across_ranks(ranks) -> None:
    first, second = ranks["one class a rank"]
    whole = [contrast_chance([4, 4]), contrast_floor([4, 4], 0.1)]
    assert first["batches"] == second["batches"] == [whole] * 8
    assert first["trained"] == second["trained"]
    assert len({digest for _, digest in first["trained"]}) == 4
    assert not [line for line in first["log"] if "one-class" in line]
