"""The whole training in two processes: gloo on the CPU, where nnU-Net has nccl on two GPUs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import nnunet_mgcl
from nnunet_mgcl.plan.plans import deep_merge
from tests.contract.models import TINY


@pytest.mark.slow
def test_two_ranks_train_the_whole_cascade_in_step(real_dataset, plans, masks_json, tmp_path) -> None:
    splits = [{"train": [f"case_{n}" for n in (0, 1, 2, 3, 4)], "val": ["case_5"]}]
    real_dataset.splits.write_text(json.dumps(splits))
    shutil.copytree(real_dataset.raw / "labelsTr", real_dataset.preprocessed / "gt_segmentations")
    block = {phase: {"batch_size": 4} for phase in ("seed", "self_train", "coarse", "fine")}
    block |= {"segment": {"epochs": 2, "checkpointing": True}}
    plans["configurations"]["2d"] |= {"mgcl": deep_merge(TINY, block), "batch_size": 4}
    (tmp_path / "content.json").write_text(json.dumps({"plans": plans, "dataset_json": masks_json}))
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(nnunet_mgcl.__file__).parents[1]),
        "nnUNet_results": str(tmp_path / "results"),
        "nnUNet_n_proc_DA": "0",
        "nnUNet_def_n_proc": "1",
    }
    worker = Path(__file__).with_name("trainer_rank.py")
    commands = [[sys.executable, worker, str(rank), tmp_path] for rank in (0, 1)]
    processes = [subprocess.Popen(command, env=environment) for command in commands]
    try:
        assert [process.wait(timeout=600) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert first["batch"] == 2 and first["epoch"] == 2
    assert "batch_size 3, of which the GPUs get unequal shares" in first["refused"]
    fold = tmp_path / "results" / real_dataset.name / "MGCLTrainer__nnUNetPlans__2d" / "fold_0"
    weights = torch.load(fold / "checkpoint_final.pth", weights_only=False)["network_weights"]
    assert bool(weights["tss.trained"])
    assert (fold / "validation" / "summary_modalities.json").is_file()
    assert (fold / "validation" / "tss.csv").is_file()
