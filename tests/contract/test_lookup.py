"""nnU-Net finds trainers by name through nnUNet_extTrainer, and forgets the module afterwards."""

from __future__ import annotations

import os
import pickle
import sys

import pytest
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

from nnunet_mgcl.system.resources import trainers_dir
from nnunet_mgcl.training import variants

NAMES = ["MGCLTrainer", "MGCLTrainerCoarse", "MGCLTrainerMeanTeacher", "MGCLTrainerRandomInit"]


@pytest.mark.parametrize("name", NAMES)
def test_trainer_is_found_and_can_be_pickled_afterwards(name) -> None:
    found = recursive_find_trainer_class_by_name(name)
    assert found is getattr(variants, name)
    assert issubclass(found, nnUNetTrainer)
    assert "mgcl_trainers" not in sys.modules
    assert pickle.loads(pickle.dumps(found)) is found


def test_folder_may_stand_among_others(tmp_path, monkeypatch) -> None:
    (tmp_path / "my_trainers.py").write_text("class MyTrainer: pass\n")
    monkeypatch.setenv("nnUNet_extTrainer", os.pathsep.join([str(tmp_path), str(trainers_dir())]))
    assert recursive_find_trainer_class_by_name("MGCLTrainer") is variants.MGCLTrainer
    assert recursive_find_trainer_class_by_name("nnUNetTrainer") is nnUNetTrainer
