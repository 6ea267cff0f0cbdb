from __future__ import annotations

import json
from copy import deepcopy

import pytest
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_mgcl.plan.plans import merged_configuration, resolve_block
from nnunet_mgcl.plan.presets import apply_preset, load_preset, plain_configurations, preset_names
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer

NOTHING = {"configurations": {}}


def apply(plans, dataset_json, preset=NOTHING, configurations=("2d",), **overrides):
    overrides = {key.replace("__", "."): value for key, value in overrides.items()}
    return apply_preset(plans, list(configurations), preset, overrides, "New", dataset_json, True)


class TestShippedPresets:
    @pytest.mark.parametrize("name", preset_names())
    def test_every_preset_fits_2d_and_3d(self, plans, dataset_json, name):
        new = apply(plans, dataset_json, load_preset(name), plain_configurations(plans))
        assert new["plans_name"] == "New"
        for configuration in plain_configurations(plans):
            assert merged_configuration(new, configuration)["data_identifier"].startswith("nnUNetPlans_")

    def test_paper_is_section_4_2(self, plans, dataset_json):
        new = apply(plans, dataset_json, load_preset("paper"))
        config = resolve_block(new, "2d", dataset_json, True)
        assert new["configurations"]["2d"]["batch_size"] == 16
        assert (config.seed.epochs, config.self_train.epochs, config.pseudo_label.confidence) == (80, 120, 0.7)
        assert (config.coarse.epochs, config.coarse.batch_size, config.coarse.temperature) == (120, 70, 0.1)
        assert (config.fine.epochs, config.fine.batch_size, config.fine.temperature) == (200, 6, 0.1)
        assert (config.fine.patch_size, config.fine.area_threshold) == (16, 0.1)
        assert (config.segment.lr, config.tss.lr, config.tss.batch_size) == (3e-4, 1e-3, 24)
        for phase in (config.seed, config.self_train, config.coarse, config.fine):
            assert (phase.lr, phase.beta1, phase.weight_decay) == (1e-4, 0.9, 1e-5)

    def test_defaults_are_the_papers(self, plans, dataset_json):
        blocks = MGCLTrainer.method_blocks()
        preset = apply(plans, dataset_json, load_preset("paper"))
        paper, default = (resolve_block(own, "2d", dataset_json, True, blocks=blocks) for own in (preset, plans))
        plans_batch = {"seed": default.seed, "self_train": default.self_train}
        assert (paper.tss.head, default.tss.head) == ("mrff", "lesion")  # ours is what reads best (docs/benchmarks.md)
        fine = {"patch_size": default.fine.patch_size, "negatives": default.fine.negatives}
        assert (paper.fine.patch_size, paper.fine.negatives) == (16, None)
        ours = {
            "tss": paper.tss.model_copy(update={"head": "lesion"}),
            "fine": paper.fine.model_copy(update=fine),
        }
        assert (paper.warm_start, default.warm_start) == (False, True)
        assert paper.model_copy(update=plans_batch | ours | {"warm_start": True}) == default


class TestOwnPreset:
    def test_file_is_read(self, tmp_path):
        path = tmp_path / "mine.json"
        path.write_text(json.dumps(NOTHING))
        assert load_preset(str(path)) == NOTHING


class TestApply:
    def test_inputs_are_not_changed(self, plans, dataset_json):
        preset = load_preset("demo")
        before = deepcopy((plans, preset, dataset_json))
        apply(plans, dataset_json, preset, plain_configurations(plans), coarse__epochs="7")
        assert (plans, preset, dataset_json) == before

    def test_other_configurations_stay(self, plans, dataset_json):
        new = apply(plans, dataset_json, load_preset("demo"))
        assert new["configurations"]["3d_fullres"] == plans["configurations"]["3d_fullres"]

    def test_unnamed_configuration_takes_the_overlay_of_its_dimension(self, plans, dataset_json):
        preset = {"configurations": {"2d": {"batch_size": 5}, "3d_fullres": {"batch_size": 4}}}
        plans["configurations"]["3d_lowres"] = deepcopy(plans["configurations"]["3d_fullres"])
        new = apply(plans, dataset_json, preset, ["2d_heir", "3d_lowres"])
        assert new["configurations"]["2d_heir"]["batch_size"] == 5
        assert new["configurations"]["3d_lowres"]["batch_size"] == 4

    def test_overrides_win_over_the_preset_and_the_plans_block(self, plans, dataset_json):
        plans["configurations"]["2d"]["mgcl"] = {"coarse": {"epochs": 1, "lr": 0.5}, "fine": {"epochs": 2}}
        preset = {"configurations": {"2d": {"mgcl": {"coarse": {"epochs": 3}}}}}
        new = apply(plans, dataset_json, preset, fine__epochs="4")
        block = new["configurations"]["2d"]["mgcl"]
        assert block == {"coarse": {"epochs": 3, "lr": 0.5}, "fine": {"epochs": 4}}

    def test_values_are_json_or_text(self, plans, dataset_json):
        new = apply(
            plans, dataset_json,
            tss__head="mlp", tss__modalities='["DWI"]', pseudo_label__mirroring="false", configuration__batch_size="8",
        )  # fmt: skip
        block = new["configurations"]["2d"]["mgcl"]
        assert block["tss"] == {"head": "mlp", "modalities": ["DWI"]}
        assert block["pseudo_label"] == {"mirroring": False}
        assert new["configurations"]["2d"]["batch_size"] == 8

    def test_network_is_cut_to_the_plans_depth_and_inherited_whole(self, plans, dataset_json):
        preset = {"configurations": {"2d": {"architecture": {"arch_kwargs": {"features_per_stage": [2, 4, 6, 8, 9]}}}}}
        new = apply(plans, dataset_json, preset, ["2d_heir"])
        arguments = PlansManager(new).get_configuration("2d_heir").network_arch_init_kwargs
        assert arguments["features_per_stage"] == [2, 4, 6]
        assert arguments["strides"] == [[1, 1], [2, 2], [2, 2]]

    def test_too_short_network_is_refused(self, plans, dataset_json):
        preset = {"configurations": {"2d": {"architecture": {"arch_kwargs": {"features_per_stage": [2, 4]}}}}}
        with pytest.raises(UserError, match="features_per_stage"):
            apply(plans, dataset_json, preset)

    @pytest.mark.parametrize(
        ("key", "value", "identifier"),
        [
            ("configuration__batch_size", "8", "nnUNetPlans_2d"),
            ("configuration__patch_size", "[16, 16]", "nnUNetPlans_2d"),
            ("configuration__spacing", "[3.0, 3.0]", "nnUNetPlans_2d"),
            ("configuration__spacing", "[2.0, 3.0]", "New_2d"),
            ("configuration__resampling_fn_data_kwargs.order", "1", "New_2d"),
            ("configuration__use_mask_for_norm", "[false, false, false]", "New_2d"),
        ],
    )
    def test_data_identifier_changes_with_preprocessing_only(self, plans, dataset_json, key, value, identifier):
        new = apply(plans, dataset_json, **{key: value})
        assert new["configurations"]["2d"]["data_identifier"] == identifier

    def test_cascades_are_left_out(self, plans):
        assert plain_configurations(plans) == ["2d", "2d_heir", "3d_fullres"]
