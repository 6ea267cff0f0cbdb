from __future__ import annotations

import pytest
import torch

from nnunet_mgcl.plan.memory import MemoryEstimate
from nnunet_mgcl.plan.memory_fit import fit_to_memory
from nnunet_mgcl.plan.plans import resolve_block
from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer


def estimated(plans, dataset_json, name="2d", **block):
    plans["configurations"][name]["mgcl"] = block
    return MemoryEstimate(plans, name, dataset_json, resolve_block(plans, name, dataset_json, False))


def fit(plans, dataset_json, name="2d", chosen=False, **block):
    plans["configurations"][name]["mgcl"] = block
    new, lines = fit_to_memory(plans, name, plans, chosen, dataset_json, False, MGCLTrainer.method_blocks())
    return new["configurations"][name], lines


class TestEstimate:
    @pytest.mark.parametrize(
        ("name", "share"), [("2d", 83_252_480 / 85_000_000), ("3d_fullres", 455_600_128 / 560_000_000)]
    )
    def test_nnunet_s_own_network_takes_what_nnunet_says(self, large, dataset_json, name, share):
        """The planner's source names these numbers of voxels beside the rounded ones."""
        one = estimated(large, dataset_json, name, modalities={"all": [0, 1, 2]})
        assert one.segment() == pytest.approx(8 * share, rel=0.02)
        assert one.budget == 8

    def test_branches_add_up_unless_they_are_checkpointed(self, large, dataset_json):
        one = estimated(large, dataset_json, modalities={"all": [0, 1, 2]}).segment()
        three = estimated(large, dataset_json)
        assert three.segment() == pytest.approx(3 * one, rel=0.01)
        assert three.segment(6) == pytest.approx(three.segment() / 2)
        assert estimated(large, dataset_json, segment={"checkpointing": True}).segment() == pytest.approx(one, rel=0.01)

    def test_user_s_own_target_raises_the_budget(self, large, dataset_json):
        large["configurations"]["2d"]["batch_size"] = 36
        assert estimated(large, dataset_json).budget == pytest.approx(24, rel=0.05)

    def test_coarse_and_fine_share_the_u_net(self, large, dataset_json):
        estimate = estimated(large, dataset_json)
        parts = estimate.phase("coarse", 12) + estimate.phase("fine", 12)
        assert parts == pytest.approx(estimate.segment(12) / 3)
        assert estimate.phase("coarse") == pytest.approx(70 / 12 * estimate.phase("coarse", 12))

    @pytest.mark.parametrize("planner", ["MyPlanner", None])
    def test_unknown_planner_is_not_guessed_at(self, plans, dataset_json, planner):
        plans["experiment_planner_used"] = planner
        assert estimated(plans, dataset_json).unknown == f"the planner {planner} is unknown"
        assert estimated(plans, dataset_json).warning(12) is None

    def test_network_without_parts_to_count_is_not_guessed_at(self, plans, dataset_json):
        class_name = "torch.nn.Identity"
        plans["configurations"]["2d"]["architecture"] |= {"network_class_name": class_name}
        assert "torch.nn.Identity does not count" in estimated(plans, dataset_json).unknown

    def test_nothing_random_is_drawn(self, plans, dataset_json):
        torch.manual_seed(0)
        before = torch.get_rng_state()
        estimated(plans, dataset_json).warning(12)
        assert torch.equal(torch.get_rng_state(), before)

    def test_warning_names_both_numbers_where_the_branches_need_more(self, large, dataset_json):
        estimate = estimated(large, dataset_json)
        assert "about 23.3 GB of GPU memory by nnU-Net's estimate, planned for 8.0 GB" in estimate.warning(12)
        assert estimate.warning(4) is None


class TestFit:
    def test_plan_that_fits_stays(self, plans, dataset_json):
        new, (line,) = fit(plans, dataset_json)
        assert new is plans["configurations"]["2d"]
        assert line.startswith("2d: segment, 3 branches with batch_size 12: about 0.0 GB") and "so" not in line

    def test_batch_is_lowered_as_little_as_possible(self, large, dataset_json):
        large["configurations"]["2d"]["patch_size"] = [384, 384]
        new, lines = fit(large, dataset_json)
        estimate = MemoryEstimate(large, "2d", dataset_json, resolve_block(large, "2d", dataset_json, False))
        assert new["batch_size"] < 12 and "checkpointing" not in str(new)
        assert estimate.segment(new["batch_size"]) <= estimate.budget < estimate.segment(new["batch_size"] + 1)
        assert f"configuration.batch_size={new['batch_size']}" in lines[0]

    def test_smallest_batch_is_checkpointed(self, large, dataset_json):
        """Batches of one would fit two branches."""
        new, lines = fit(large, dataset_json, "3d_fullres", modalities={"A": [0], "B": [1, 2]})
        assert (new["batch_size"], new["mgcl"]["segment"]) == (2, {"checkpointing": True})
        assert len(lines) == 1 and "so segment.checkpointing=true, about 6.4 GB" in lines[0]

    def test_inputs_are_not_changed(self, large, dataset_json):
        fit(large, dataset_json)
        assert large["configurations"]["2d"]["batch_size"] == 12

    def test_one_branch_needs_nothing(self, large, dataset_json):
        new, lines = fit(large, dataset_json, modalities={"all": [0, 1, 2]}, coarse={"batch_size": 12})
        assert not lines and new["batch_size"] == 12

    def test_coarse_batch_is_lowered_where_nobody_chose_it(self, large, dataset_json):
        new, lines = fit(large, dataset_json)
        assert new["mgcl"]["coarse"]["batch_size"] < 70 and "coarse.batch_size=" in lines[1]
        chosen, lines = fit(large, dataset_json, coarse={"batch_size": 70})
        assert chosen["mgcl"]["coarse"] == {"batch_size": 70}
        assert "it does not fit, --set coarse.batch_size=" in lines[1]

    def test_unknown_planner_changes_nothing_and_says_so(self, large, dataset_json):
        large["experiment_planner_used"] = "MyPlanner"
        new, lines = fit(large, dataset_json)
        assert new["batch_size"] == 12
        assert lines == ["2d: GPU memory not estimated, the planner MyPlanner is unknown"]
