import shutil
import subprocess

import pytest

from nnunet_mgcl.cli import main
from nnunet_mgcl.commands import env
from nnunet_mgcl.system import resources

AWKWARD = '/a b/it\'s $HOME "quoted" `x` \\n*'


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_the_shell_reads_back_an_awkward_value(shell):
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    script = env.export_line(shell, "X", AWKWARD) + "; printenv X"
    assert subprocess.run([shell, "-c", script], capture_output=True, text=True).stdout == AWKWARD + "\n"


def test_quotes_are_escaped_as_each_shell_wants_it():
    assert env.export_line("fish", "X", "it's\\") == r"set -gx X 'it\'s\\'"
    assert env.export_line("powershell", "X", "it's $y") == "$env:X = 'it''s $y'"


@pytest.mark.parametrize(
    ("shell", "expected"),
    [("/bin/bash", "bash"), ("/usr/bin/zsh", "bash"), ("/usr/local/bin/fish", "fish"), ("/opt/pwsh", "powershell")],
)
def test_the_shell_is_guessed(shell, expected):
    assert env.guess_shell({"SHELL": shell}) == expected


def test_standard_output_is_the_line_alone(monkeypatch, capsys):
    monkeypatch.delenv(resources.TRAINERS, raising=False)
    for name in resources.FOLDERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("nnUNet_raw", "/raw")
    assert main(["env", "--shell", "powershell"]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"$env:nnUNet_extTrainer = '{resources.trainers_dir()}'\n"
    assert "nnUNet_results" in printed.err
    assert "nnUNet_raw" not in printed.err
    assert all(line.startswith("#") for line in printed.err.splitlines())
