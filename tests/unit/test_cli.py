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
