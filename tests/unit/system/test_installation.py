import os
from importlib import metadata

import pytest

from nnunet_mgcl.cli import main
from nnunet_mgcl.system import installation
from nnunet_mgcl.system.resources import trainers_dir


def raising(error):
    def stand_in(*_):
        raise error

    return stand_in


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (RuntimeError("operator torchvision::nms does not exist"), "--force-reinstall torch torchvision"),
        (ModuleNotFoundError("No module named 'timm'"), "install nnunet_mgcl again"),
    ],
)
@pytest.mark.parametrize("check", ["check_torch", "check_torchvision", "check_lookup"])
def test_what_does_not_load_is_a_problem_with_a_remedy(monkeypatch, error, remedy, check):
    monkeypatch.setattr(installation, "import_module", raising(error))
    finding = getattr(installation, check)()
    assert finding.is_problem and str(error) in finding.found and remedy in finding.remedy


def test_old_and_missing_packages_are_problems(monkeypatch):
    monkeypatch.setattr(metadata, "requires", lambda _: ["nnunetv2>=2.8.1", "torch>=2.6", 'pytest; extra == "dev"'])
    monkeypatch.setattr(metadata, "version", lambda _: "2.6.4+cu124")
    found = {finding.subject: finding.is_problem for finding in installation.check_requirements()}
    assert found == {"nnunet-mgcl": False, "nnunetv2": True, "torch": False}
    monkeypatch.setattr(metadata, "requires", raising(metadata.PackageNotFoundError()))
    monkeypatch.setattr(metadata, "version", raising(metadata.PackageNotFoundError()))
    (finding,) = installation.check_requirements()
    assert finding.is_problem


def test_an_unset_folder_and_one_that_is_not_there_are_problems(tmp_path):
    assert installation.check_folder("nnUNet_raw", None).is_problem
    assert installation.check_folder("nnUNet_raw", str(tmp_path / "nowhere")).is_problem
    assert installation.check_folder("nnUNet_raw", str(tmp_path)).remedy is None


@pytest.mark.parametrize(("name", "is_problem"), [("nnUNet_raw", False), ("nnUNet_results", True)])
def test_only_the_raw_folder_may_be_read_only(name, is_problem, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    finding = installation.check_folder(name, str(tmp_path))
    assert finding.remedy is not None and finding.is_problem is is_problem


def test_the_trainers_folder_is_fine_among_others_and_alone_in_its_way(tmp_path):
    check, folder = installation.check_trainer_variable, trainers_dir()
    assert check(os.pathsep.join([str(tmp_path), str(folder)])).remedy is None
    assert all(check(value).is_problem for value in (None, "", "/nowhere"))
    above = check(str(folder.parent))
    assert above.is_problem and "above" in above.found


def test_the_status_says_whether_anything_is_wrong(monkeypatch, capsys):
    found = [installation.Finding("a", "b"), installation.Finding("n", "m", "perhaps", harmless=True)]
    monkeypatch.setattr("nnunet_mgcl.commands.doctor.examine", lambda: found)
    assert main(["doctor"]) == 0
    assert "perhaps" in capsys.readouterr().out
    found.append(installation.Finding("[c]", "[d]", "do [e]"))
    assert main(["doctor"]) == 1
    assert "[c]: do [e]" in capsys.readouterr().out
