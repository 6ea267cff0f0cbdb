"""nnunet_mgcl/plan/memory.py quotes constants of nnU-Net's planners and repeats their estimate."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import nnunetv2
import numpy as np
import pytest
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

from nnunet_mgcl.plan.memory import PLANNERS, REFERENCE_BATCH, MemoryEstimate
from nnunet_mgcl.plan.memory_fit import SMALLEST_BATCH
from nnunet_mgcl.plan.plans import resolve_block

NAME = "Dataset901_Tiny"
RESIDUAL = "nnUNetPlannerResEnc"
NAMES = ["ExperimentPlanner", "ResEncUNetPlanner", "nnUNetPlanner_torchres", f"{RESIDUAL}M", f"{RESIDUAL}L"]
NAMES += [f"{RESIDUAL}{kind}" for kind in ("XL", "L_torchres", "L_torchres_sepz", "L_noResampling")]


@pytest.fixture
def make_planner(workspace, dataset_json, monkeypatch):
    """A planner of a dataset without a case: it is asked for single configurations only."""
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")
    raw = workspace / "raw" / NAME
    raw.mkdir(parents=True)
    (raw / "dataset.json").write_text(json.dumps(dataset_json | {"dataset": {}}))
    fingerprint = {"median_relative_size_after_cropping": 1.0}
    (workspace / "preprocessed" / NAME / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    folder = Path(nnunetv2.__file__).parent / "experiment_planning"
    return lambda name: recursive_find_python_class(str(folder), name, "nnunetv2.experiment_planning")(NAME)


def test_all_planners_are_listed():
    assert set(NAMES) == set(PLANNERS)


@pytest.mark.parametrize("name", NAMES)
def test_constants_are_the_planner_s(make_planner, name):
    planner, reference = make_planner(name), PLANNERS[name]
    assert reference.voxels_2d == planner.UNet_reference_val_2d
    assert reference.voxels_3d == planner.UNet_reference_val_3d
    assert reference.gigabytes == planner.UNet_reference_val_corresp_GB == planner.UNet_vram_target_GB
    assert {2: planner.UNet_reference_val_corresp_bs_2d, 3: planner.UNet_reference_val_corresp_bs_3d} == REFERENCE_BATCH
    assert planner.UNet_min_batch_size == SMALLEST_BATCH


@pytest.mark.parametrize("planner_name", ["ExperimentPlanner", "nnUNetPlannerResEncL"])
@pytest.mark.parametrize("spacing", [(0.5, 0.5), (2.0, 1.0, 1.0)])
def test_network_that_the_planner_made_is_estimated_at_its_target(
    make_planner, planner_name, spacing, plans, dataset_json
):
    """The planner's batch is its own estimate, rounded: within one sample of the target."""
    planner, name = make_planner(planner_name), "2d" if len(spacing) == 2 else "3d_fullres"
    shape = np.array([96, 320, 320][-len(spacing) :])
    planned = planner.get_plans_for_configuration(np.array(spacing), shape, "images", 1e12, {})
    plans["configurations"][name] |= {
        "batch_size": planned["batch_size"],
        "patch_size": [int(side) for side in planned["patch_size"]],
        "architecture": json.loads(json.dumps(deepcopy(planned["architecture"]), default=list)),
    }
    plans["experiment_planner_used"] = planner_name
    config = resolve_block(plans, name, dataset_json, False).model_copy(update={"modalities": {"all": [0, 1, 2]}})
    estimate = MemoryEstimate(plans, name, dataset_json, config)
    a_sample = estimate.segment(1)
    assert planned["batch_size"] > 1
    assert abs(estimate.segment() - planner.UNet_vram_target_GB) <= a_sample
