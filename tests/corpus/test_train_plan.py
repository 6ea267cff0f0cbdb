"""A training of odd groups of channels, masks and plans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.corpus.row import TRAIN, Row, meet, refused
from tests.corpus.spoil import Spoil, both, edited, nothing, removed, updated

HERE, TABLE = "preprocessed/Dataset901_Tiny", "raw/Dataset901_Tiny/tss.csv"
ALL_QUICK = True
OUTPUTS = ("results/*",)


def dataset(**keys: Any) -> Spoil:
    """Sets keys of dataset.json in raw and in the copy, as planning leaves it."""
    return both(*(updated(f"{folder}/Dataset901_Tiny/dataset.json", **keys) for folder in ("raw", "preprocessed")))


def block(_configuration: str = "2d", **keys: Any) -> Spoil:
    """Sets keys of a configuration's block `mgcl`."""
    return configuration(_configuration, mgcl=keys)


def configuration(_name: str = "2d", **keys: Any) -> Spoil:
    return edited(f"{HERE}/nnUNetPlans.json", lambda plans: plans["configurations"][_name].update(keys))


def groups() -> list[Row]:
    modalities: dict[Any, str] = {
        "channel left out": ({"DWI": [0], "FLAIR": [1]}, "channels [0, 1]"),
        "channel twice": ({"DWI": [0, 1], "FLAIR": [1, 2]}, "channels [0, 1, 1, 2]"),
        "unknown channel": ({"DWI": [0, 1, 2, 3]}, "modalities.DWI", "channel 3"),
        "without a channel": ({"DWI": [0, 1, 2], "FLAIR": []}, "modalities.FLAIR", "no channel"),
        "none": ({}, "channels []"), "a list": ([[0], [1], [2]], "[[0], [1], [2]]"),
        "name that is no folder": ({"DWI/ADC": [0, 1, 2]}, "'DWI/ADC'"),
        "names for numbers": ({"DWI": ["0", "1", "2"]}, "modalities.DWI.0", "'0'"),
    }  # fmt: skip
    own = {"DWI": [1, 3, 5, 7], "FLAIR": [2, 3, 6, 7], "PWI": [4, 5, 6, 7]}
    masks = {
        "label that is not declared": ({**own, "DWI": [1, 3, 5, 7, 8]}, "lesion_labels.DWI", "label 8"),
        "background": ({**own, "DWI": [0, 1, 3, 5, 7]}, "lesion_labels.DWI", "label 0"),
        "two labels of one combination": ({**own, "PWI": [5, 6, 7]}, "labels 0 and 4"),
        "another modality": ({**own, "ADC": [1, 3, 5, 7]}, "'ADC'"),
    }  # fmt: skip
    seven = {"background": 0, "DWI": 1, "FLAIR": 2, "DWI+FLAIR": 3, "PWI": 4, "DWI+PWI": 5, "FLAIR+PWI": 6}
    seven_masks = {name: [label for label in labels if label < 7] for name, labels in own.items()}
    each = {name: [channel] for channel, name in enumerate(own)}
    five = {"channel_names": {str(n): name for n, name in enumerate("abcde")},
            "mgcl": {"modalities": {name: [n] for n, name in enumerate("abcde")},
                     "lesion_labels": {name: [1] for name in "abcde"}}}  # fmt: skip

    def bad(name: str, spoil: Spoil, *says: str) -> Row:
        return refused(f"mgcl: {name}", spoil, TRAIN, "its copy in nnUNet_preprocessed", *says)

    return [
        *(bad(name, dataset(mgcl={"modalities": content}), "mgcl.modalities", *says)
          for name, (content, *says) in modalities.items()),
        *(bad(name, dataset(mgcl={"modalities": each, "lesion_labels": content}), "mgcl.lesion_labels", *says)
          for name, (content, *says) in masks.items()),
        bad("misspelt key", dataset(mgcl={"modality": {}}), "mgcl.modality", "did you mean"),
        bad("no object", dataset(mgcl=[0]), "[0]"),
        bad("combination without a label", dataset(labels=seven, mgcl={"modalities": each,
            "lesion_labels": seven_masks}), "mgcl.lesion_labels", "all 8 combinations"),
        bad("masks and regions", dataset(labels={"background": 0, "whole": [1, 2], "core": 2},
            regions_class_order=[1, 2]), "mgcl.lesion_labels", "regions ['whole']"),
        bad("five masks", dataset(**five), "mgcl.lesion_labels", "5 masks"),
    ]  # fmt: skip


def plans() -> list[Row]:
    values = [
        ("coarse.epochs", 0), ("fine.epochs", "9"), ("seed.epochs", True), ("tss.epochs", 1.5),
        ("coarse.temperature", 0), ("coarse.lr", float("nan")), ("segment.weight_decay", -1.0),
        ("fine.area_threshold", 0), ("fine.area_threshold", 1.1), ("pseudo_label.confidence", 70),
        ("seed.batch_size", 0), ("coarse.batch_size", 1), ("fine.patch_size", 33), ("tss.grid", 9),
        ("tss.head", "cnn"), ("tss.modalities", []), ("tss.modalities", ["DW"]), ("tss.modalities", ["DWI"] * 2),
        ("tss.size", [8]), ("tss.size", [32] * 3), ("coarse.lr", float("inf")), ("seed.beta1", 1), ("random_seed", -1),
        ("coarse.epoch", 3), ("coarse", 3), ("course", {}), ("epochs", 3), ("modalities", {"DWI": [0]}),
    ]  # fmt: skip

    def value(path: str, content: Any) -> Spoil:
        first, _, second = path.partition(".")
        return block(**{first: {second: content} if second else content})

    return [
        *(refused(f"plan: {path} = {content!r}", value(path, content), TRAIN, f"mgcl.{path}\n")
          for path, content in values),
        refused("plan: misspelt phase", block(course={}), TRAIN, "did you mean 'coarse'?"),
        refused("plan: no object", configuration(mgcl=[1]), TRAIN, "configurations.2d.mgcl", "[1]"),
        refused("plan: head without table", both(block(tss={"enabled": True}), removed(TABLE)), TRAIN,
                "configurations.2d.mgcl.tss.enabled", "no tss.csv"),
        refused("plan: wrong key inherited", block(seed={"epochs": 0}), "nnUNetv2_train 901 2d_heir 0",
                "configurations.2d.mgcl.seed.epochs"),
        refused("plan: unknown parent", configuration(inherits_from="2D"), TRAIN, "2d.inherits_from", "'2D'"),
        refused("plan: circle of parents", configuration(inherits_from="2d_heir"), TRAIN, "inherits_from", "circle"),
        refused("plan: cascade", nothing, "nnUNetv2_train 901 3d_cascade_fullres 0", "3d_cascade_fullres",
                "3d_lowres"),
        refused("plan: unknown configuration", nothing, "nnUNetv2_train 901 2D 0", "'2D'"),
        refused("plan: no configurations", edited(f"{HERE}/nnUNetPlans.json", lambda p: p.pop("configurations")), TRAIN,
                "nnUNetPlans", "no configurations"),
    ]  # fmt: skip


ROWS = [*groups(), *plans()]


def test_row(row: Row, planned: Path) -> None:
    row.spoil(planned)
    meet(row, planned, OUTPUTS)
