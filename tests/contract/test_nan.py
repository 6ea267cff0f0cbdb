"""An image that becomes NaN stops every phase with its epoch and the cases of the batch."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from nnunet_mgcl.pretraining.coarse import Coarse
from nnunet_mgcl.pretraining.fine import Fine
from nnunet_mgcl.pretraining.teacher import Teacher
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.tss.phase import TSS
from tests.conftest import rewrite_case
from tests.contract.models import tiny_trainer


@pytest.fixture
def refusal(real_dataset, plans, masks_json, monkeypatch):
    """Trains with a NaN between two phases."""

    def refusal(before=(), after=(), head="mrff") -> UserError:
        def phases(_, context) -> None:
            for phase in before:
                phase.run(context)
            rewrite_case(real_dataset.preprocessed / "nnUNetPlans_2d", "case_3", image=lambda v: v * np.nan)
            for phase in after:
                phase.run(context)

        monkeypatch.setattr("nnunet_mgcl.training.mgcl_trainer.pretrain", phases)
        with pytest.raises(SystemExit) as end:
            tiny_trainer(plans, masks_json, {"tss": {"head": head}}).run_training()
        assert isinstance(end.value.__cause__, UserError)
        return end.value.__cause__

    return refusal


@pytest.mark.parametrize(
    ("where", "before", "after"),
    [
        ("phase seed_length (DWI), epoch 1", (), (Teacher(),)),  # the search of its length comes first
        ("phase coarse (DWI), epoch 1", (), (Coarse(),)),
        ("phase fine (DWI), epoch 1", (Coarse(),), (Fine(),)),
        ("phase segment, epoch 1", (), ()),
        ("phase tss (mrff), epoch 1", (), (TSS(),)),
    ],
)
def test_phase_stops_with_its_epoch_and_cases(refusal, real_dataset, where, before, after) -> None:
    if "coarse" in where or "fine" in where:
        shutil.rmtree(real_dataset.raw / "imagesUn")  # they then contrast the labelled cases
    error = refusal(before, after)
    assert error.where == where
    assert "loss nan" in error.found and "case_3" in error.found
    assert "mgcl plan -d Dataset901_Tiny -c 2d -p nnUNetPlans --set" in error.remedy


def test_fit_of_the_lesion_head_stops_with_its_case(refusal) -> None:
    assert refusal(after=(TSS(),), head="lesion").where == "phase tss (lesion), case case_3"
