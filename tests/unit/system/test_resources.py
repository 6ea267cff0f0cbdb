import pytest

from nnunet_mgcl.system import resources
from nnunet_mgcl.system.errors import UserError


def test_trainers_dir_holds_only_the_module_of_imports():
    assert [path.name for path in resources.trainers_dir().glob("*.py")] == ["mgcl_trainers.py"]


def test_trainers_dir_is_not_above_the_package():
    package = resources._PACKAGE
    assert not package.is_relative_to(resources.trainers_dir())


def test_a_wheels_folder_wins_over_a_neighbour_of_the_package(tmp_path):
    package = tmp_path / "site-packages" / "nnunet_mgcl"
    for folder in (package / "_plans", package.parent / "plans"):
        folder.mkdir(parents=True)
        (folder / "x.json").touch()
    assert resources._find("plans", "*.json", package) == package / "_plans"


def test_a_neighbour_without_the_content_is_not_taken(tmp_path):
    package = tmp_path / "nnunet_mgcl"
    (tmp_path / "plans").mkdir()
    with pytest.raises(UserError, match="install nnunet_mgcl again"):
        resources._find("plans", "*.json", package)
