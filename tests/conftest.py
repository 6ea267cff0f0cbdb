"""Fixtures that several test folders share. Small on purpose: each is made in milliseconds."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

RESAMPLING = {
    "resampling_fn_data": "resample_data_or_seg_to_shape",
    "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None},
    "resampling_fn_seg": "resample_data_or_seg_to_shape",
    "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None},
    "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
    "resampling_fn_probabilities_kwargs": {
        "is_seg": False,
        "order": 1,
        "order_z": 0,
        "force_separate_z": None,
    },
}


def _architecture(dimensions: int, strides: list[list[int]]) -> dict[str, Any]:
    stages = len(strides)
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": [4, 8, 16, 32][:stages],
            "conv_op": f"torch.nn.modules.conv.Conv{dimensions}d",
            "kernel_sizes": [[3] * dimensions] * stages,
            "strides": strides,
            "n_conv_per_stage": [1] * stages,
            "n_conv_per_stage_decoder": [1] * (stages - 1),
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimensions}d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def _configuration(name: str, **keys: Any) -> dict[str, Any]:
    return {
        "data_identifier": f"nnUNetPlans_{name}",
        "preprocessor_name": "DefaultPreprocessor",
        "normalization_schemes": ["ZScoreNormalization", "CTNormalization", "NoNormalization"],
        "use_mask_for_norm": [True, False, False],
        "batch_dice": True,
        **deepcopy(RESAMPLING),
        **keys,
    }


@pytest.fixture
def dataset_json() -> dict[str, Any]:
    """Three channels and one shared lesion label."""
    return {
        "channel_names": {"0": "DWI", "1": "FLAIR", "2": "PWI"},
        "labels": {"background": 0, "lesion": 1},
        "numTraining": 6,
        "file_ending": ".nii.gz",
    }


@pytest.fixture
def masks_json(dataset_json: dict[str, Any]) -> dict[str, Any]:
    """The same channels with a mask for each modality, stored as a bit mask (DWI 1, FLAIR 2, PWI 4)."""
    names = ["background", "DWI", "FLAIR", "DWI+FLAIR", "PWI", "DWI+PWI", "FLAIR+PWI", "DWI+FLAIR+PWI"]
    dataset_json["labels"] = {name: value for value, name in enumerate(names)}
    dataset_json["mgcl"] = {
        "modalities": {"DWI": [0], "FLAIR": [1], "PWI": [2]},
        "lesion_labels": {"DWI": [1, 3, 5, 7], "FLAIR": [2, 3, 6, 7], "PWI": [4, 5, 6, 7]},
    }
    return dataset_json


@pytest.fixture
def plans() -> dict[str, Any]:
    """A plans file as nnU-Net writes it, for 32 x 32 x 6 volumes of three channels, with tiny networks.

    Besides `2d` and `3d_fullres` it has a cascade (`3d_cascade_fullres`) and a heir of `2d` (`2d_heir`).
    """
    intensity = {
        str(channel): {
            "mean": 10.0 * channel,
            "std": 1.0 + channel,
            "percentile_00_5": -50.0,
            "percentile_99_5": 50.0,
        }
        for channel in range(3)
    }
    fullres = _configuration(
        "3d_fullres",
        batch_size=2,
        patch_size=[6, 32, 32],
        median_image_size_in_voxels=[6.0, 32.0, 32.0],
        spacing=[6.0, 3.0, 3.0],
        architecture=_architecture(3, [[1, 1, 1], [1, 2, 2], [2, 2, 2]]),
    )
    plane = _configuration(
        "2d",
        batch_size=12,
        patch_size=[32, 32],
        median_image_size_in_voxels=[32.0, 32.0],
        spacing=[3.0, 3.0],
        architecture=_architecture(2, [[1, 1], [2, 2], [2, 2]]),
    )
    return {
        "dataset_name": "Dataset901_Tiny",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [6.0, 3.0, 3.0],
        "original_median_shape_after_transp": [6, 32, 32],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {
            "2d": plane,
            "2d_heir": {"inherits_from": "2d", "batch_size": 3},
            "3d_fullres": fullres,
            "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
        },
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": intensity,
    }
