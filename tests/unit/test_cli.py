import json
import os
import subprocess
import sys

import pytest

from nnunet_mgcl import __version__, cli


def test_version_is_the_packages(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out.strip() == f"nnunet_mgcl {__version__}"


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([command, "--help"])
    assert end.value.code == 0
    assert f"usage: mgcl {command}" in capsys.readouterr().out


def test_no_command_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([])
    assert end.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def test_a_user_error_is_a_message_without_a_traceback(tmp_path):
    arguments = ["phantom", "-o", str(tmp_path), "--cases", "0"]
    code = f"import sys; from nnunet_mgcl.cli import main; sys.exit(main({arguments!r}))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "--cases" in ended.stderr
    assert "remedy" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_help_needs_no_torch():
    code = "import sys, nnunet_mgcl.cli as cli; cli._parser(cli._modules()); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_ctrl_c_is_a_line_and_the_shell_s_status(monkeypatch, capsys):
    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setattr("nnunet_mgcl.commands.schema.run", interrupted)
    assert cli.main(["schema"]) == 130
    assert capsys.readouterr().err == "\nmgcl schema: interrupted\n"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_what_a_terminal_cannot_show_is_escaped(encoding, tmp_path):
    code = (
        "import sys; from rich.console import Console; from rich.table import Table; from nnunet_mgcl import cli\n"
        "def run(args):\n    table = Table('Fälle ≥ 4.5 h')\n    table.add_row('0.8 ± 0.1')\n"
        "    Console().print(table)\n    print('病例_1')\n    return 0\n"
        "import nnunet_mgcl.commands.schema as schema; schema.run = run; sys.exit(cli.main(['schema']))"
    )
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b"\\u75c5\\u4f8b_1" in ended.stdout and b"\\u2265 4.5 h" in ended.stdout


@pytest.mark.parametrize(
    ("words", "where"),
    [
        ("summary -d 901 -c 2d -o x.xyz", "x.xyz"),
        ("summary -d 901 -c 2d -o picture", "picture"),
        *((f"evaluate -d 901 -c 2d --tolerance {value}", "--tolerance") for value in ("inf", "nan", "-1")),
        *((f"evaluate -d 901 -c 2d --sensitivity {value}", "--sensitivity") for value in ("inf", "nan", "0")),
        *((f"mismatch -d 901 -o out --min-lesion-ml {value}", "--min-lesion-ml") for value in ("inf", "nan", "0")),
        *(
            (f"{command} -np 0", "-np")
            for command in ("prepare -d 901 -c 2d", "mismatch -d 901 -o out", "phantom -o .")
        ),
    ],
)
def test_values_outside_their_range_are_refused_before_any_work(words, where, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for variable in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{variable}", str(tmp_path / variable))
        (tmp_path / variable / "Dataset901_Tiny").mkdir(parents=True)
    (tmp_path / "raw" / "Dataset901_Tiny" / "imagesTr").mkdir()
    content = {"channel_names": {"0": "DWI"}, "labels": {"background": 0, "lesion": 1}, "file_ending": ".nii.gz"}
    (tmp_path / "raw" / "Dataset901_Tiny" / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(SystemExit) as error:
        cli.main(words.split())
    assert error.value.__cause__.where == where
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words", ["-step_size 0", "-step_size 1.5", "-step_size nan", "-npp -1", "-nps -1", "-num_parts 0", "-part_id 1"]
)
def test_numbers_that_nnunet_cannot_predict_with_are_refused(words, tmp_path):
    model = tmp_path / "fold_0"
    model.mkdir()
    (model / "checkpoint_final.pth").touch()
    with pytest.raises(SystemExit) as error:
        cli.main(["predict", "-i", ".", "-o", str(tmp_path / "out"), "-m", str(tmp_path), "-f", "0", *words.split()])
    assert error.value.__cause__.where == words.split()[0]
