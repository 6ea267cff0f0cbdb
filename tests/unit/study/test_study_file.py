from __future__ import annotations

import pytest

from nnunet_mgcl.study.study_file import read_study, write_template
from nnunet_mgcl.system.errors import UserError


def test_a_file_is_read_and_named_after_itself(study_file) -> None:
    study = read_study(study_file())
    assert (study.name, study.fractions, study.executor.jobs) == ("first", [0.5, 1.0], 1)
    assert study.budgets == ["equal-finetuning", "equal-total"] and not study.share_pretraining


def test_the_template_is_a_study(tmp_path) -> None:
    path = tmp_path / "mine.toml"
    write_template(path, "501", "2d", "MGCLPlans", "cuda")
    study = read_study(path)
    assert (study.name, study.dataset, study.plans, study.device) == ("mine", "501", "MGCLPlans", "cuda")
    assert "MGCLTrainer" in study.trainers and study.reference in study.trainers
    with pytest.raises(UserError, match="an existing file"):
        write_template(path, "501", "2d", "MGCLPlans", "cuda")


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"dataset": None}, "dataset"),
        ({"trainer": ["MGCLTrainer"]}, "unknown key 'trainer'"),
        ({"trainers": []}, "trainers"),
        ({"trainers": ["MGCLTrainer"]}, "reference"),
        ({"classifiers": ["resnet"], "masks": "MGCLTrainer"}, "masks"),
        ({"fractions": [0.0]}, "fractions"),
        ({"fractions": [0.5, 0.5]}, "fractions"),
        ({"folds": [-1]}, "folds"),
        ({"seeds": ["one"]}, "seeds"),
        ({"budgets": ["equal"]}, "budgets"),
        ({"executor": {"kind": "pbs"}}, "executor.kind"),
        ({"executor": {"jobs": 0}}, "executor.jobs"),
        ({"executor": {"gpus": ["0"]}}, "executor.gpus"),  # the study is on the CPU
        ({"name": "../elsewhere"}, "name"),
    ],
)
def test_a_mistake_is_named_with_its_key(study_file, changed, named) -> None:
    with pytest.raises(UserError) as refusal:
        read_study(study_file(**changed))
    assert named in str(refusal.value)


def test_no_toml_and_no_file(tmp_path) -> None:
    path = tmp_path / "broken.toml"
    with pytest.raises(UserError, match="no such file"):
        read_study(path)
    path.write_text("dataset = ")
    with pytest.raises(UserError, match="TOML"):
        read_study(path)
