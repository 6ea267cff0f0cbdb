from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from nnunet_mgcl.commands.schema import schema_text
from nnunet_mgcl.plan.config import MGCLConfig, config_model
from nnunet_mgcl.system.resources import plans_dir


def test_a_plan_that_sets_one_key_of_a_block_leaves_the_others_as_they_are():
    """A default of the whole block that differs from the defaults of its keys would be lost."""
    for name, field in MGCLConfig.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            assert field.default == field.annotation(), name


def test_values_cannot_be_changed_afterwards():
    with pytest.raises(ValidationError):
        MGCLConfig().segment.epochs = 3


def test_every_key_is_described():
    schema = config_model().model_json_schema()
    for name, model in [("MGCLConfig", schema), *schema["$defs"].items()]:
        for key, content in model["properties"].items():
            assert "description" in content or "$ref" in content or "allOf" in content, f"{name}.{key}"


def test_shipped_schema_is_current():
    """Where this fails: mgcl schema -o plans/mgcl.schema.json."""
    assert (plans_dir() / "mgcl.schema.json").read_text() == schema_text()
