"""Structurally wrong JSON ends in one message that names the file and the key, never in a traceback.

Each row puts one value in the place of a key of a good file.
"""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest

from nnunet_mgcl.data.pool.manifest import Manifest
from nnunet_mgcl.plan.dataset_json import read_dataset_json
from nnunet_mgcl.plan.memory import MemoryEstimate
from nnunet_mgcl.plan.plans import resolve_block
from nnunet_mgcl.plan.plans_file import read_plans
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import read_json

GONE = object()
BROKEN = ["", "[" * 100_000, '{"a": ' * 100_000, '{"labels": ' + "9" * 5000 + "}", "[1, 2", "\xff"]
"""Texts that no reader can take, or only as something else than an object."""

DATASET: list[tuple[str, Any]] = [
    *(("", content) for content in ([], None, "text", 5, {})),
    *(("channel_names", value) for value in (GONE, None, [], {}, "DWI", 5, ["DWI", "FLAIR", "PWI"])),
    *(("channel_names", value) for value in ({"0": 5, "1": "b", "2": "c"}, {"x": "DWI"}, {"DWI": 0}, {"1": "DWI"})),
    *(("labels", value) for value in (GONE, None, [], {}, 5, "lesion", ["background", "lesion"], {"lesion": 1})),
    *(("labels.background", value) for value in (GONE, 1, None, [0], "0", {}, True)),
    *(("labels.DWI", value) for value in ("1", None, [], {}, 1.5, -1, [[1]], ["1"], True, 10**30, [1, 2])),
    *(("file_ending", value) for value in (GONE, None, 5, "", [".nii.gz"])),
    *(("regions_class_order", value) for value in (5, "ab", ["a"], {})),
    *(("mgcl", value) for value in ([], 5, {"modalities": []}, {"modalities": {"DWI": 0}}, {"lesion_labels": 1})),
]
PLANS: list[tuple[str, Any]] = [
    *(("", content) for content in ([], None, "text", 5, {})),
    *(("configurations", value) for value in (GONE, None, [], {}, "2d", 5)),
    *(("configurations.2d", value) for value in (GONE, None, [], {}, "2d", 5)),
    *(("configurations.2d.batch_size", value) for value in (GONE, None, "12", 0, -1, 1.5, [12], True)),
    *(("configurations.2d.patch_size", value) for value in (GONE, None, [], [32], "32", [0, 32], [32.5, 32], {}, 32)),
    *(("configurations.2d.patch_size", value) for value in ([[32], 32], [-32, 32], [32, 32, 32, 32])),
    *(("configurations.2d.spacing", value) for value in (GONE, None, [], ["3", 3], [0, 3.0], 3, [float("nan"), 3.0])),
    *(("configurations.2d.normalization_schemes", value) for value in (GONE, None, [], "ZScoreNormalization", [5])),
    ("configurations.2d.normalization_schemes", ["ZScoreNormalization", "Unknown", "NoNormalization"]),
    ("configurations.2d.normalization_schemes", ["ZScoreNormalization"] * 2),
    *(("configurations.2d.use_mask_for_norm", value) for value in (GONE, None, [], "no", [1], [True])),
    *(("configurations.2d.architecture", value) for value in (GONE, None, [], {}, "PlainConvUNet")),
    *(("configurations.2d.architecture.network_class_name", value) for value in (GONE, 5, "x.y.Unknown", "Unknown")),
    *(("configurations.2d.architecture.arch_kwargs", value) for value in (GONE, None, [], {}, 5)),
    *(("configurations.2d.architecture.arch_kwargs.n_stages", value) for value in (GONE, "3", None, -1, 99)),
    *(("configurations.2d.architecture.arch_kwargs.strides", value) for value in (GONE, None, 5, [[1, 1]], "2")),
    *(("configurations.2d.architecture.arch_kwargs.features_per_stage", value) for value in ([], "x", [0, 0, 0])),
    *(("configurations.2d.architecture.arch_kwargs.conv_op", value) for value in (GONE, 5, "torch.nn.Unknown")),
    *(("configurations.2d.architecture._kw_requires_import", value) for value in (GONE, 5, [5], ["unknown"])),
    *(("configurations.2d.data_identifier", value) for value in (GONE, None, 5, [], "../elsewhere")),
    *(("configurations.2d.preprocessor_name", value) for value in (GONE, None, 5, "Unknown")),
    *(("configurations.2d.inherits_from", value) for value in (None, 5, [], {}, "gone", "2d")),
    *(("configurations.2d.previous_stage", value) for value in (5, [])),
    *(("configurations.2d.mgcl", value) for value in ([], None, 5, "x", {"coarse": []}, {"coarse": {"epochs": "x"}})),
    *(("configurations.2d.resampling_fn_data", value) for value in (GONE, None, 5, "unknown")),
    *(("configurations.2d.resampling_fn_seg_kwargs", value) for value in (GONE, None, 5, [])),
    *(("transpose_forward", value) for value in (GONE, None, [0], "012", [0, 1, 5], [0, 0, 1], {})),
    *(("image_reader_writer", value) for value in (GONE, None, 5, "Unknown", [])),
    *(("label_manager", value) for value in (5, "Unknown", [])),
    *(("dataset_name", value) for value in (GONE, None, 5, [], "../elsewhere")),
    *(("plans_name", value) for value in (GONE, None, 5, [], "../elsewhere")),
    *(("original_median_shape_after_transp", value) for value in (GONE, None, [], "x", [None] * 3, 6)),
    *(("foreground_intensity_properties_per_channel", value) for value in (GONE, None, [], {}, 5, {"0": []})),
    *(("experiment_planner_used", value) for value in (5, [], {})),
]
FINE: list[tuple[str, Any]] = [
    ("own_key", {"deep": [1, None]}),
    ("configurations.2d.own_key", [None]),
    ("configurations.2d.architecture.arch_kwargs.norm_op_kwargs.momentum", 0.1),
    ("configurations.2d.previous_stage", None),
    ("configurations.2d.spacing", [3, 3]),
    ("configurations.2d_heir.mgcl", {"coarse": {"epochs": 2}}),
    ("plans_name", "Other"),
    ("label_manager", GONE),
    ("original_median_shape_after_transp", [6, 32.5, 32]),
]
ENTRY = {"name": "pool_0_0000.nii.gz", "size": 1, "mtime_ns": 1, "sha256": "0", "voxels": "0"}
MANIFEST: list[tuple[str, Any]] = [
    *(("", content) for content in ([], None, "text", 5)),
    *(("modalities", value) for value in (None, [], 5, {"DWI": []}, {"DWI": None}, {"DWI": {}})),
    *(("modalities.DWI.plan", value) for value in (GONE, None, [], 5)),
    *(("modalities.DWI.cases", value) for value in (GONE, None, [], 5, {"pool_0": 5}, {"pool_0": [5]})),
    *(("modalities.DWI.cases.pool_0", [ENTRY | {key: None}]) for key in ENTRY),
    *(("modalities.DWI.cases.pool_0", [{k: v for k, v in ENTRY.items() if k != key}]) for key in ("name", "sha256")),
    *(("labelled", value) for value in (None, [], 5, {"a": 5}, {"a": {}}, {"a": ENTRY})),
]


def spoilt(content: Any, path: str, value: Any) -> str:
    """The content as text, with another value at a path."""
    if not path:
        return json.dumps(value)
    content = deepcopy(content)
    node, (*parents, last) = content, path.split(".")
    for part in parents:
        node = node[part]
    node.pop(last, None)
    if value is not GONE:
        node[last] = value
    return json.dumps(content)


def label(value: Any) -> str:
    if isinstance(value, str):
        return value[:12]
    return "gone" if value is GONE else json.dumps(value)[:24] if not isinstance(value, tuple) else None


def read_and_resolve(tmp_path, plans: str, dataset_json: str, configuration: str = "2d") -> None:
    """What every command does first, up to a network without weights."""
    for name, text in (("plans", plans), ("dataset", dataset_json)):
        (tmp_path / f"{name}.json").write_text(text)
    described, content = read_dataset_json(tmp_path / "dataset.json"), read_plans(tmp_path / "plans.json")
    assert (described, content) == (json.loads(dataset_json), json.loads(plans))  # untouched
    config = resolve_block(content, configuration, described, tss_known=False)
    assert MemoryEstimate(content, configuration, described, config).segment() > 0


@pytest.mark.parametrize(("path", "value"), DATASET, ids=label)
def test_wrong_dataset_json_is_refused_by_file_and_key(tmp_path, plans, masks_json, path, value):
    with pytest.raises(UserError) as error:
        read_and_resolve(tmp_path, json.dumps(plans), spoilt(masks_json, path, value))
    assert "dataset.json" in error.value.where
    assert path.split(".")[0] in error.value.where + error.value.expected
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(("path", "value"), PLANS, ids=label)
def test_wrong_plans_are_refused_by_key(tmp_path, plans, masks_json, path, value):
    with pytest.raises(UserError) as error:
        read_and_resolve(tmp_path, spoilt(plans, path, value), json.dumps(masks_json))
    key = "architecture" if "architecture" in path else path.removeprefix("configurations.").split(".")[-1]
    assert key in error.value.where + error.value.expected
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(("path", "value"), FINE, ids=label)
def test_what_other_planners_write_passes_untouched(tmp_path, plans, masks_json, path, value):
    read_and_resolve(
        tmp_path, spoilt(plans, path, value), json.dumps(masks_json | {"reference": [None], "tensorImageSize": {}})
    )


@pytest.mark.parametrize(("path", "value"), MANIFEST, ids=label)
def test_wrong_manifest_of_the_pool_is_refused_by_file_and_key(tmp_path, path, value):
    content = {"modalities": {"DWI": {"plan": {}, "cases": {"pool_0": [ENTRY]}}}, "labelled": {}}
    (tmp_path / "manifest.json").write_text(spoilt(content, path, value))
    with pytest.raises(UserError, match=r"manifest\.json") as error:
        Manifest(tmp_path)
    assert path.split(".")[0] in error.value.where


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_no_json_is_one_message(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text, encoding="latin-1")
    for read in (read_json, read_plans, read_dataset_json, lambda path: Manifest(path.parent)):
        with pytest.raises(UserError, match=r"manifest\.json"):
            read(tmp_path / "manifest.json")


def test_message_names_value_and_what_belongs_there(tmp_path, plans, masks_json):
    with pytest.raises(UserError) as error:
        read_and_resolve(tmp_path, spoilt(plans, "configurations.2d.batch_size", "12"), json.dumps(masks_json))
    assert error.value.where == f"{tmp_path / 'plans.json'}: configurations.2d.batch_size"
    assert (error.value.found, error.value.expected) == ("'12'", "a valid integer")
    for path, value, key in (("labels.PWI", "4", "labels.PWI"), ("labels.background", 1, "labels")):
        with pytest.raises(UserError) as error:
            read_and_resolve(tmp_path, json.dumps(plans), spoilt(masks_json, path, value))
        assert error.value.where == f"{tmp_path / 'dataset.json'}: {key}" and repr(value) in error.value.found
