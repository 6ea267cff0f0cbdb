from __future__ import annotations

from copy import deepcopy

import pytest

from nnunet_mgcl.plan.plans import (
    configuration_chain,
    merged_block,
    merged_configuration,
    modality_view,
    resolve_block,
)
from nnunet_mgcl.system.errors import UserError


def resolve(plans, dataset_json, configuration="2d", tss_known=False, block=None):
    if block is not None:
        plans["configurations"][configuration]["mgcl"] = block
    return resolve_block(plans, configuration, dataset_json, tss_known)


class TestInheritance:
    def test_chain_goes_from_the_farthest_parent_to_the_configuration(self, plans):
        assert configuration_chain(plans, "2d_heir") == ["2d", "2d_heir"]

    def test_block_is_merged_key_by_key(self, plans):
        plans["configurations"]["2d"]["mgcl"] = {"coarse": {"epochs": 7, "lr": 0.5}}
        plans["configurations"]["2d_heir"]["mgcl"] = {"coarse": {"epochs": 9}}
        assert merged_block(plans, "2d_heir") == {"coarse": {"epochs": 9, "lr": 0.5}}

    def test_configuration_is_merged_as_nnunet_does(self, plans):
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        plans["configurations"]["2d_heir"]["resampling_fn_seg_kwargs"] = {"is_seg": True}
        theirs = PlansManager(deepcopy(plans)).get_configuration("2d_heir").configuration
        theirs.pop("inherits_from")
        assert merged_configuration(plans, "2d_heir") == theirs


class TestResolveBlock:
    def test_defaults_in_2d(self, plans, dataset_json):
        config = resolve(plans, dataset_json)
        assert config.modalities == {"DWI": [0], "FLAIR": [1], "PWI": [2]}
        assert config.lesion_labels is None
        assert (config.seed.batch_size, config.self_train.batch_size) == (12, 12)
        assert (config.coarse.batch_size, config.fine.batch_size) == (70, 6)
        assert config.tss.enabled is False
        assert config.tss.modalities == ["DWI", "FLAIR", "PWI"]
        assert (config.tss.slices, config.tss.size) == (6, [32, 32])

    def test_defaults_in_3d_follow_the_patch_and_the_plans_batch(self, plans, dataset_json):
        plans["configurations"]["3d_fullres"]["patch_size"] = [5, 24, 16]
        config = resolve(plans, dataset_json, "3d_fullres")
        assert (config.coarse.batch_size, config.fine.batch_size) == (2, 2)
        assert (config.tss.slices, config.tss.size) == (5, [24, 16])

    def test_slices_round_the_median_depth(self, plans, dataset_json):
        plans["original_median_shape_after_transp"] = [20.6, 32, 32]
        assert resolve(plans, dataset_json).tss.slices == 21

    def test_table_switches_the_head_on(self, plans, dataset_json):
        assert resolve(plans, dataset_json, tss_known=True).tss.enabled is True
        assert resolve(plans, dataset_json, tss_known=True, block={"tss": {"enabled": False}}).tss.enabled is False

    def test_head_without_table_is_refused(self, plans, dataset_json):
        with pytest.raises(UserError, match=r"tss\.enabled"):
            resolve(plans, dataset_json, block={"tss": {"enabled": True}})

    def test_resolving_twice_changes_nothing(self, plans, masks_json):
        once = resolve(plans, masks_json, tss_known=True)
        assert resolve(plans, masks_json, tss_known=True, block=once.model_dump()) == once

    def test_inputs_are_not_changed(self, plans, masks_json):
        before = deepcopy((plans, masks_json))
        resolve_block(plans, "2d_heir", masks_json, True)
        assert (plans, masks_json) == before

    def test_block_wins_over_dataset_json(self, plans, masks_json):
        del masks_json["mgcl"]["lesion_labels"]
        masks_json["labels"] = {"background": 0, "lesion": 1}
        config = resolve(plans, masks_json, block={"modalities": {"A": [2, 0], "B": [1]}})
        assert config.modalities == {"A": [2, 0], "B": [1]}

    def test_equal_channel_names_are_numbered_and_made_fit_for_folders(self, plans, dataset_json):
        dataset_json["channel_names"] = {"0": "MR", "1": "MR", "2": "T1/ce w"}
        assert resolve(plans, dataset_json).modalities == {"MR_0": [0], "MR_1": [1], "T1_ce_w": [2]}

    def test_per_modality_masks_are_taken_over(self, plans, masks_json):
        masks_json["labels"]["ignore"] = 8  # which is no combination
        assert resolve(plans, masks_json).lesion_labels["PWI"] == [4, 5, 6, 7]


class TestMessages:
    """Beside the mistakes that tests/corpus/test_train_plan.py meets in training."""

    def test_number_of_a_list_is_found_where_it_is_written(self, plans, dataset_json):
        with pytest.raises(UserError) as error:
            resolve(plans, dataset_json, block={"modalities": {"A": ["x"]}})
        assert (error.value.where, error.value.found) == ("configurations.2d.mgcl.modalities.A.0", "'x'")

    def test_batch_may_be_one_where_a_sample_is_a_volume(self, plans, dataset_json):
        resolve(plans, dataset_json, "3d_fullres", block={"coarse": {"batch_size": 1}})

    @pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
    def test_contrast_patch_must_fit_into_the_plans_patch(self, plans, dataset_json, configuration):
        plans["configurations"][configuration]["patch_size"][-2:] = [40, 32]
        resolve(plans, dataset_json, configuration, block={"fine": {"patch_size": 32}})
        with pytest.raises(UserError, match=r"fine\.patch_size\n.*33\n.*\[40, 32\]"):
            resolve(plans, dataset_json, configuration, block={"fine": {"patch_size": 33}})


class TestModalityView:
    def test_channels_are_renumbered_in_the_order_given(self, plans, dataset_json):
        view, view_json = modality_view(plans, "2d", dataset_json, [2, 0], None)
        configuration = view["configurations"]["2d"]
        assert configuration["normalization_schemes"] == ["NoNormalization", "ZScoreNormalization"]
        assert configuration["use_mask_for_norm"] == [False, True]
        means = {key: value["mean"] for key, value in view["foreground_intensity_properties_per_channel"].items()}
        assert means == {"0": 20.0, "1": 0.0}
        assert view_json["channel_names"] == {"0": "PWI", "1": "DWI"}
        assert view_json["labels"] == dataset_json["labels"]

    def test_inheritance_is_resolved(self, plans, dataset_json):
        view, _ = modality_view(plans, "2d_heir", dataset_json, [1], None)
        assert list(view["configurations"]) == ["2d_heir"]
        configuration = view["configurations"]["2d_heir"]
        assert configuration["batch_size"] == 3 and configuration["patch_size"] == [32, 32]
        assert "inherits_from" not in configuration

    def test_lesion_labels_make_a_two_class_dataset(self, plans, masks_json):
        _, view_json = modality_view(plans, "2d", masks_json, [0], [1, 3, 5, 7])
        assert view_json["labels"] == {"background": 0, "lesion": 1}
        masks_json["labels"]["ignore"] = 8
        _, view_json = modality_view(plans, "2d", masks_json, [0], [1, 3, 5, 7])
        assert view_json["labels"] == {"background": 0, "lesion": 1, "ignore": 2}

    def test_nothing_is_shared_with_the_inputs(self, plans, dataset_json):
        before = deepcopy((plans, dataset_json))
        view, view_json = modality_view(plans, "2d", dataset_json, [0], None)
        view["configurations"]["2d"]["architecture"]["arch_kwargs"]["n_stages"] = 99
        view["foreground_intensity_properties_per_channel"]["0"]["mean"] = 99
        view_json["labels"]["lesion"] = 99
        assert (plans, dataset_json) == before
