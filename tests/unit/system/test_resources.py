import os
from pathlib import Path

import pytest

from nnunet_mgcl.system import resources
from nnunet_mgcl.system.errors import UserError


def test_trainers_dir_holds_only_the_module_of_imports_and_is_not_above_the_package():
    assert [path.name for path in resources.trainers_dir().glob("*.py")] == ["mgcl_trainers.py"]
    assert not Path(resources.__file__).is_relative_to(resources.trainers_dir())


def test_a_wheels_folder_wins_over_a_neighbour_that_must_have_the_content(tmp_path):
    package = tmp_path / "site-packages" / "nnunet_mgcl"
    (package.parent / "plans").mkdir(parents=True)
    with pytest.raises(UserError, match="install nnunet_mgcl again"):
        resources._find("plans", "*.json", package)
    (package / "_plans").mkdir(parents=True)
    for folder in (package / "_plans", package.parent / "plans"):
        (folder / "x.json").touch()
    assert resources._find("plans", "*.json", package) == package / "_plans"


def test_the_trainers_go_behind_what_the_variable_has_already_and_only_once(tmp_path, monkeypatch):
    monkeypatch.setenv(resources.TRAINERS, f"/one{os.pathsep} ")
    for _ in range(2):
        resources.offer_trainers()
        assert os.environ[resources.TRAINERS] == os.pathsep.join(["/one", str(resources.trainers_dir())])
    (tmp_path / "link").symlink_to(tmp_path)
    value = os.pathsep.join(["/one", f"{tmp_path / 'link'}{os.sep}"])
    assert resources.extended(value, tmp_path) == value
