"""What a wheel carries, and whether it works without the checkout."""

import subprocess
import zipfile
from pathlib import Path

import pytest

from nnunet_mgcl.system.resources import plans_dir

pytestmark = pytest.mark.slow
PACKAGE = Path(__file__).parents[2] / "nnunet_mgcl"


def run(command, folder, **environment):
    """Standard output of a command that runs away from the checkout."""
    variables = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "OMP_NUM_THREADS": "1", **environment}
    ended = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_a_wheel_has_only_the_package_at_its_top_level(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert top == {"nnunet_mgcl", next(name for name in top if name.endswith(".dist-info"))}
    assert any(name.endswith("licenses/LICENSE") for name in names) and "nnunet_mgcl/py.typed" in names
    templates = {path.relative_to(PACKAGE.parent).as_posix() for path in PACKAGE.rglob("*.html")}
    assert templates and templates <= set(names)


def test_a_wheel_carries_the_presets_and_the_trainers(environment):
    code = "from nnunet_mgcl.system import resources as r; print(r.trainers_dir(), r.plans_dir(), sep='\\n')"
    output = run([environment / "bin" / "python", "-c", code], environment)
    trainers, plans = map(Path, output.splitlines())
    assert trainers.is_relative_to(environment)
    assert [p.name for p in trainers.glob("*.py")] == ["mgcl_trainers.py"]
    assert plans.is_relative_to(environment)
    assert {p.name for p in plans.glob("*.json")} == {p.name for p in plans_dir().glob("*.json")}


def test_mgcl_env_names_the_wheels_trainers(environment):
    output = run([environment / "bin" / "mgcl", "env", "--shell", "powershell"], environment)
    assert Path(output.split("'")[1]).is_relative_to(environment)


def test_nnunet_finds_a_trainer_that_can_be_pickled(environment, tmp_path):
    code = (
        "import pickle\n"
        "from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find\n"
        "trainer = find('MGCLTrainer')\n"
        "assert pickle.loads(pickle.dumps(trainer)) is trainer\n"
        "import nnunet_mgcl; print(nnunet_mgcl.__file__, trainer.__module__, sep='\\n')\n"
    )
    trainers = next(environment.glob("lib/python*/site-packages/nnunet_mgcl/_trainers"))
    output = run([environment / "bin" / "python", "-c", code], environment, nnUNet_extTrainer=f"{tmp_path}:{trainers}")
    package, module = output.splitlines()[-2:]
    assert Path(package).is_relative_to(environment)
    assert module.startswith("nnunet_mgcl.")
