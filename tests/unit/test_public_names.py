"""The names that `nnunet_mgcl` itself offers."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import nnunet_mgcl


def in_a_new_process(code: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(Path(nnunet_mgcl.__file__).parents[1])}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, check=True, text=True, env=environment).stdout


def test_importing_the_package_imports_nothing_that_takes_time() -> None:
    code = "import sys; before = set(sys.modules); import nnunet_mgcl; dir(nnunet_mgcl); nnunet_mgcl.__version__\n"
    code += "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before} - {*sys.stdlib_module_names}))"
    assert in_a_new_process(code).split() == ["nnunet_mgcl"]


def test_an_error_is_caught_without_torch() -> None:
    assert in_a_new_process("import sys; from nnunet_mgcl import UserError; print('torch' in sys.modules)") == "False\n"


@pytest.mark.parametrize("name", nnunet_mgcl.__all__)
def test_every_name_is_there_documented_and_listed(name) -> None:
    value = getattr(nnunet_mgcl, name)
    assert value.__name__ == name and value.__doc__ and name in dir(nnunet_mgcl)
    for member in (value, *(m for n, m in vars(value).items() if inspect.isclass(value) and not n.startswith("_"))):
        if inspect.isfunction(member):
            hints = inspect.signature(member)
            assert hints.return_annotation is not inspect.Signature.empty, member
            assert all(p.annotation is not p.empty or n == "self" for n, p in hints.parameters.items()), member


def test_another_name_is_none() -> None:
    with pytest.raises(AttributeError, match="no attribute 'predict'"):
        _ = nnunet_mgcl.predict
    everything: dict[str, object] = {}
    exec("from nnunet_mgcl import *", everything)
    assert set(nnunet_mgcl.__all__) <= everything.keys() and (Path(nnunet_mgcl.__file__).parent / "py.typed").is_file()


@pytest.mark.slow
def test_a_type_checker_knows_the_names_and_refuses_others(tmp_path) -> None:
    code = (
        "import nnunet_mgcl\nfrom nnunet_mgcl import Model, UserError, build_dataset\n"
        "spread: float | None = Model('m').predict_files(['a']).tss.spread\n"
        "wrong: str = Model('m').folds\n"
        "build_dataset('m.csv', 1, 'N', engine='elastic')\n"
        "nnunet_mgcl.predict\n"
    )
    (tmp_path / "user.py").write_text(code)
    environment = os.environ | {"MYPYPATH": str(Path(nnunet_mgcl.__file__).parents[1])}
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--ignore-missing-imports",
        "--follow-imports=silent",
        "user.py",
    ]
    said = subprocess.run(command, capture_output=True, check=False, text=True, env=environment, cwd=tmp_path).stdout
    assert [line.split(":")[1] for line in said.splitlines() if ": error:" in line] == ["4", "5", "6"], said
