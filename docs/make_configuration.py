"""Writes docs/configuration.md from the models of nnunet_mgcl/plan/config.py and the presets, so that it cannot drift.

python docs/make_configuration.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from nnunet_mgcl.plan.config import config_model
from nnunet_mgcl.plan.presets import load_preset, preset_names
from nnunet_mgcl.pretraining.lookup import register_methods
from nnunet_mgcl.system.files import write_text

TARGET = Path(__file__).with_name("configuration.md")

INTRODUCTION = """\
# Configuration

*Generated from [nnunet_mgcl/plan/config.py](../nnunet_mgcl/plan/config.py) and [plans/](../plans) by
[docs/make_configuration.py](make_configuration.py): change those, not this page.*

Every number of the method lies in the plan, under `configurations.<configuration>.mgcl`. A plan without that block,
such as nnU-Net's own `nnUNetPlans`, gets the defaults below; where the paper gives a number, the default is the
paper's ([method.md](method.md#settings-of-section-42)).

```bash
mgcl plan -d 501 --preset short                                  # writes MGCLPlans_short.json
mgcl plan -d 501 --preset paper --set coarse.epochs=60 tss.head=mlp -o MGCLPlans_mlp
mgcl plan -d 501 --preset paper --set configuration.batch_size=8 -o MGCLPlans_small   # a key outside the block
mgcl plan -d 501 --preset my_preset.json                         # a preset of your own
nnUNetv2_train 501 2d 0 -tr MGCLTrainer -p MGCLPlans_short
```

- Unknown keys, wrong types and numbers out of range are refused with the key's full path. `mgcl schema` prints the
  JSON schema for an editor ([plans/mgcl.schema.json](../plans/mgcl.schema.json) is the same).
- The other keys of a plans file that nnU-Net or this package reads are checked for type and range, and names of
  readers, normalisations and the like must be ones that nnU-Net finds. Keys of other planners pass.
- `-o` takes a name, no path, and `--overwrite` replaces plans only.
- `inherits_from`: the blocks of a chain of configurations are merged key by key. (nnU-Net replaces whole keys; every
  other key of a configuration follows nnU-Net.)
- Training resolves every `null` but `lesion_labels` and `tss.focal_alpha` and stores the result in the `plans.json`
  of the results folder. All folds of that folder share it; training with another block is refused: give the plan
  another name.
- `mgcl plan` estimates the GPU memory that the branches need and lowers what nobody chose: [gpus.md](gpus.md).
- A phase counts its epochs as passes over its samples (`segment`: nnU-Net's way). Which phases run is not a key but a
  property of the trainer ([README](../README.md#trainers)).
"""

PRESETS = """\
## Presets

What each preset sets, as `2d / 3d` where they differ (a dash: left as it is). `3d_lowres` takes the 3d column. Keys
with the prefix `configuration.` are nnU-Net's own, outside the block.
"""


def configuration_page() -> str:
    """The whole page."""
    register_methods()
    schema, defaults = config_model().model_json_schema(), config_model()()
    properties = schema["properties"]
    sections = [name for name in properties if isinstance(getattr(defaults, name), BaseModel)]
    plain = {name: entry for name, entry in properties.items() if name not in sections}
    parts = [INTRODUCTION, "## The block\n\nBesides the sections below:\n\n" + _table(plain, defaults)]
    for name in sections:
        definition = schema["$defs"][_reference(properties[name])]
        summary = definition["description"].splitlines()[0]
        parts.append(f"## {name}\n\n{summary}\n\n{_table(definition['properties'], getattr(defaults, name))}")
    return "\n".join([*parts, PRESETS, _presets_table()])


def _reference(entry: dict[str, Any]) -> str:
    return str(entry["$ref"]).rsplit("/", 1)[-1]


def _table(properties: dict[str, Any], values: BaseModel) -> str:
    rows = ["| key | values | default | meaning |", "|---|---|---|---|"]
    for key, entry in properties.items():
        default = json.dumps(getattr(values, key))
        rows.append(f"| `{key}` | {_values(entry)} | `{default}` | {entry['description']} |")
    return "\n".join(rows) + "\n"


def _values(entry: dict[str, Any]) -> str:
    """What a key may hold, in words."""
    if "anyOf" in entry:
        return " or ".join(_values(choice) for choice in entry["anyOf"])
    if "enum" in entry:
        return ", ".join(f"`{value}`" for value in entry["enum"])
    if entry["type"] == "array":
        return f"list of {_values(entry['items'])}"
    if entry["type"] == "object":
        return f"object of {_values(entry['additionalProperties'])}"
    bounds = [
        f"{sign} {entry[key]:.10g}"
        for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
        if key in entry
    ]
    return " ".join([entry["type"], ", ".join(bounds)]).strip()


def _presets_table() -> str:
    flat = {name: _flattened(load_preset(name)["configurations"]) for name in preset_names()}
    keys = sorted({key for preset in flat.values() for overlay in preset.values() for key in overlay})
    rows = [f"| key | {' | '.join(flat)} |", f"|---|{'---|' * len(flat)}"]
    for key in keys:
        rows.append(f"| `{key}` | {' | '.join(_cell(preset, key) for preset in flat.values())} |")
    return "\n".join(rows) + "\n"


def _cell(preset: dict[str, dict[str, str]], key: str) -> str:
    in_2d, in_3d = (preset[name].get(key, "-") for name in ("2d", "3d_fullres"))
    return in_2d if in_2d == in_3d else f"{in_2d} / {in_3d}"


def _flattened(configurations: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {name: dict(_leaves(overlay, "configuration.")) for name, overlay in configurations.items()}


def _leaves(node: dict[str, Any], prefix: str) -> list[tuple[str, str]]:
    """The leaves of an overlay as `--set` names them."""
    leaves = []
    for key, value in node.items():
        if isinstance(value, dict):
            leaves += _leaves(value, "" if key == "mgcl" else f"{prefix}{key}.")
        else:
            leaves.append((prefix + key, f"`{json.dumps(value)}`"))
    return leaves


if __name__ == "__main__":
    write_text(TARGET, configuration_page())
