import argparse
from importlib import metadata

import pytest

from nnunet_mgcl.commands import doctor
from nnunet_mgcl.system.resources import trainers_dir

MISMATCH = RuntimeError("operator torchvision::nms does not exist")


def raising(error):
    def stand_in(*_):
        raise error

    return stand_in


def test_mixed_builds_of_torch_and_torchvision_are_recognised(monkeypatch):
    monkeypatch.setattr(doctor, "import_module", raising(MISMATCH))
    for check in (doctor.check_torchvision, doctor.check_lookup):
        finding = check()
        assert finding.is_problem
        assert "torchvision::nms" in finding.found
        assert finding.remedy == doctor.SAME_BUILD


def test_the_lookup_reports_an_import_that_fails(monkeypatch):
    monkeypatch.setattr(doctor, "import_module", raising(ModuleNotFoundError("No module named 'timm'")))
    finding = doctor.check_lookup()
    assert finding.is_problem
    assert "timm" in finding.found


def test_an_old_package_is_a_problem(monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda _: "2.6.4")
    assert doctor.check_version("nnunetv2").is_problem
    assert not doctor.check_version("torch").is_problem  # 2.6.4 is younger than 2.4


def test_a_missing_package_is_a_problem(monkeypatch):
    monkeypatch.setattr(metadata, "version", raising(metadata.PackageNotFoundError()))
    assert doctor.check_version("torch").is_problem


def test_an_unset_folder_and_one_that_is_not_there_are_problems(tmp_path):
    assert doctor.check_folder("nnUNet_raw", None).is_problem
    assert doctor.check_folder("nnUNet_raw", str(tmp_path / "nowhere")).is_problem
    assert doctor.check_folder("nnUNet_raw", str(tmp_path)).remedy is None


@pytest.mark.parametrize(("name", "is_problem"), [("nnUNet_raw", False), ("nnUNet_results", True)])
def test_only_the_raw_folder_may_be_read_only(name, is_problem, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    finding = doctor.check_folder(name, str(tmp_path))
    assert finding.remedy is not None
    assert finding.is_problem is is_problem


def test_the_trainers_folder_is_fine_among_others(tmp_path):
    value = doctor.os.pathsep.join([str(tmp_path), str(trainers_dir())])
    assert doctor.check_trainer_variable(value).remedy is None


@pytest.mark.parametrize("value", [None, "", "/nowhere", str(trainers_dir().parent)])
def test_a_wrong_trainer_variable_is_a_problem(value):
    assert doctor.check_trainer_variable(value).is_problem


def test_the_folder_above_the_trainers_is_named_as_the_mistake():
    assert "above" in doctor.check_trainer_variable(str(trainers_dir().parent)).found


def test_the_status_says_whether_anything_is_wrong(monkeypatch, capsys):
    fine = doctor.Finding("a", "b")
    note = doctor.Finding("n", "m", "perhaps", harmless=True)
    monkeypatch.setattr(doctor, "examine", lambda: [fine, note])
    assert doctor.run(argparse.Namespace()) == 0
    assert "perhaps" in capsys.readouterr().out
    monkeypatch.setattr(doctor, "examine", lambda: [fine, doctor.Finding("[c]", "[d]", "do [e]")])
    assert doctor.run(argparse.Namespace()) == 1
    assert "[c]: do [e]" in capsys.readouterr().out
