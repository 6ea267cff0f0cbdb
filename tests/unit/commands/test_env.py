import argparse
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from nnunet_mgcl.commands import env
from nnunet_mgcl.system import resources

AWKWARD = '/a b/it\'s $HOME "quoted" `x` \\n*'


def run_env(shell=None):
    return env.run(argparse.Namespace(shell=shell))


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_reads_back_an_awkward_value():
    script = env.export_line("bash", "X", AWKWARD) + "; printenv X"
    assert subprocess.run(["bash", "-c", script], capture_output=True, text=True).stdout == AWKWARD + "\n"


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
def test_fish_reads_back_an_awkward_value():
    script = env.export_line("fish", "X", AWKWARD) + "; printenv X"
    assert subprocess.run(["fish", "-c", script], capture_output=True, text=True).stdout == AWKWARD + "\n"


def test_fish_escapes_the_two_characters_that_need_it():
    assert env.export_line("fish", "X", "it's\\") == r"set -gx X 'it\'s\\'"


def test_powershell_doubles_quotes():
    assert env.export_line("powershell", "X", "it's $y") == "$env:X = 'it''s $y'"


def test_the_folder_goes_behind_what_is_there():
    assert resources.extended(f"/one{os.pathsep}/two", Path("/mine")) == os.pathsep.join(["/one", "/two", "/mine"])


def test_the_folder_is_not_added_twice_under_another_name(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    value = os.pathsep.join(["/one", f"{link}{os.sep}"])
    assert resources.extended(value, tmp_path) == value


def test_blank_entries_vanish():
    assert resources.extended(os.pathsep + " ", Path("/mine")) == "/mine"


@pytest.mark.parametrize(
    ("shell", "expected"),
    [
        ("/bin/bash", "bash"),
        ("/usr/bin/zsh", "bash"),
        ("/usr/local/bin/fish", "fish"),
        ("/opt/pwsh", "powershell"),
    ],
)
def test_the_shell_is_guessed(shell, expected):
    assert env.guess_shell({"SHELL": shell}) == expected


def test_standard_output_is_the_line_alone(monkeypatch, capsys):
    monkeypatch.delenv(resources.TRAINERS, raising=False)
    for name in resources.FOLDERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("nnUNet_raw", "/raw")
    assert run_env("powershell") == 0
    printed = capsys.readouterr()
    assert printed.out == f"$env:nnUNet_extTrainer = '{resources.trainers_dir()}'\n"
    assert "nnUNet_results" in printed.err
    assert "nnUNet_raw" not in printed.err
    assert all(line.startswith("#") for line in printed.err.splitlines())
