import os
import subprocess
import sys

import pytest

from nnunet_mgcl import __version__, cli


@pytest.mark.parametrize(
    ("words", "status", "printed"),
    [
        (["--version"], 0, f"nnunet_mgcl {__version__}"),
        ([], 2, "COMMAND"),
        *(([command, "--help"], 0, f"usage: mgcl {command}") for command in cli.COMMANDS),
    ],
)
def test_every_command_explains_itself(words, status, printed, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == status
    assert printed in "".join(capsys.readouterr())


def run(code, **variables):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, env=os.environ | variables)


def test_a_user_error_is_a_message_without_a_traceback(tmp_path):
    ended = run(f"import sys; from nnunet_mgcl.cli import main; sys.exit(main(['phantom', '-o', {str(tmp_path)!r}, "
                "'--cases', '0']))")  # fmt: skip
    assert ended.returncode == 1
    assert b"--cases" in ended.stderr and b"remedy" in ended.stderr and b"Traceback" not in ended.stderr


def test_the_help_needs_no_torch():
    code = "import sys, nnunet_mgcl.cli as cli; cli._parser(cli._modules()); sys.exit('torch' in sys.modules)"
    assert run(code).returncode == 0


def test_ctrl_c_is_a_line_and_the_shell_s_status(monkeypatch, capsys):
    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setattr("nnunet_mgcl.commands.schema.run", interrupted)
    assert cli.main(["schema"]) == 130
    assert capsys.readouterr().err == "\nmgcl schema: interrupted\n"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_what_a_terminal_cannot_show_is_escaped(encoding):
    code = (
        "import sys; from rich.console import Console; from rich.table import Table; from nnunet_mgcl import cli\n"
        "def run(args):\n    table = Table('Fälle ≥ 4.5 h')\n    table.add_row('0.8 ± 0.1')\n"
        "    Console().print(table)\n    print('病例_1')\n    return 0\n"
        "import nnunet_mgcl.commands.schema as schema; schema.run = run; sys.exit(cli.main(['schema']))"
    )
    ended = run(code, PYTHONIOENCODING=encoding)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b"\\u75c5\\u4f8b_1" in ended.stdout and b"\\u2265 4.5 h" in ended.stdout


@pytest.mark.parametrize(
    "words",
    [
        *(f"summary -d 901 -c 2d -o {picture}" for picture in ("x.xyz", "picture")),
        *(f"evaluate -d 901 -c 2d --tolerance {value}" for value in ("inf", "nan", "-1")),
        *(f"evaluate -d 901 -c 2d --sensitivity {value}" for value in ("inf", "nan", "0")),
        *(f"mismatch -d 901 -o out --min-lesion-ml {value}" for value in ("inf", "nan", "0")),
        *(f"{command} -np 0" for command in ("prepare -d 901 -c 2d", "mismatch -d 901 -o out", "phantom -o .")),
        *(f"predict -i . -o out -m . -f 0 {option}" for option in ("-step_size 0", "-step_size 1.5", "-step_size nan")),
        *(f"predict -i . -o out -m . -f 0 {option}" for option in ("-npp -1", "-nps -1", "-num_parts 0", "-part_id 1")),
    ],
)
def test_values_outside_their_range_are_refused_before_any_work(words, tiny_dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for variable, folder in (("raw", tiny_dataset.raw), ("preprocessed", tiny_dataset.preprocessed)):
        monkeypatch.setenv(f"nnUNet_{variable}", str(folder.parent))
    monkeypatch.setenv("nnUNet_results", str(tmp_path))
    (tmp_path / "fold_0").mkdir()
    (tmp_path / "fold_0" / "checkpoint_final.pth").touch()
    with pytest.raises(SystemExit) as error:
        cli.main(words.split())
    *_, option, value = words.split()
    assert error.value.__cause__.where in (option, value)
    assert not (tmp_path / "out").exists()
