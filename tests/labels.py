"""What differs in dataset.json, by the kind of its labels."""

from __future__ import annotations

from typing import Any

MODALITIES = {"A": [0, 2], "B": [1]}
MASKS: dict[str, Any] = {
    "labels": {"background": 0, "A": 1, "B": 2, "A+B": 3},
    "mgcl": {"modalities": MODALITIES, "lesion_labels": {"A": [1, 3], "B": [2, 3]}},
}
IGNORE = {"labels": {"background": 0, "lesion": 1, "ignore": 2}}
REGIONS: dict[str, Any] = {"labels": {"background": 0, "whole": [1, 2], "core": 2}, "regions_class_order": [1, 2]}
LABELS: dict[str, dict[str, Any]] = {
    "shared": {"labels": {"background": 0, "lesion": 1}},
    "two lesions": {"labels": {"background": 0, "core": 1, "rim": 2}},
    "ignore": IGNORE,
    "regions": REGIONS,
    "masks": MASKS,
    "masks, ignore": {**MASKS, "labels": {**MASKS["labels"], "ignore": 4}},
}
