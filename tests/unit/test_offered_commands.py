"""Every command that a message, a page or a script offers is taken by the parser of the program that it names."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
from importlib.metadata import distribution
from pathlib import Path

import pytest

from nnunet_mgcl import cli

ROOT = Path(__file__).parents[2]
ENTRIES = {entry.name: entry for entry in distribution("nnunetv2").entry_points}
COMMAND = re.compile(r"(?:nnUNetv2_\w+|mgcl [a-z]+)(?: +(?!and |then |with |takes |makes |where |\|)[^\s,;()`]+)*")
VALUES = (
    ("number|\\.id", "901"),
    ("quote|folder", "folder"),
    ("values", "coarse.epochs=3"),
    ("fold|there", "0"),
    ("choices", "--id 501 --name Phantom --reference DWI"),
    ("chosen", " -f 0"),
    ("options", "--tolerance 2 --sensitivity 0.9"),
    ("^model$", "-tr MGCLTrainer -p nnUNetPlans -c 2d"),
    ("configuration", "2d"),
    ("plans_name|plans\\[", "nnUNetPlans"),
    ("name|dataset", "Dataset901_Tiny"),
)
"""What stands for an expression in a message, by the first pattern that its source has."""


def message(node: ast.AST) -> str:
    """A string of the source, with an example for each expression in it."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if not isinstance(node, ast.JoinedStr):
        source = ast.unparse(node.value) if isinstance(node, ast.FormattedValue) else ""
        return next((value for pattern, value in VALUES if re.search(pattern, source)), "1")
    return "".join(map(message, node.values))


def messages(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)} - {
        node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
    }
    texts = (node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr | ast.Constant) and node not in inner)
    return [message(node) for node in texts if isinstance(node, ast.JoinedStr) or isinstance(node.value, str)]


def page(path: Path) -> list[str]:
    """The lines of a page's shell blocks, and its inline code."""
    text = path.read_text(encoding="utf-8")
    blocks = "".join(re.findall(r"^```bash\n(.*?)^```", text, flags=re.M | re.S))
    return [*lines(blocks), *re.findall(r"`((?:mgcl|nnUNetv2_)[^`\n]*)`", text)]


def lines(text: str) -> list[str]:
    """The lines of a shell script with an example for each variable."""
    text = text.replace("\\\n", " ").replace('"$@"', "").replace("$device", "cpu")
    return re.sub(r"\"?\$\{?\w+(?::-\w+\})?\"?", "0", text).splitlines()


def offered() -> list[tuple[str, str]]:
    """Where and what; a command that names no dataset is one of a sentence, and may be no more than its options."""
    sources = [(path, messages(path)) for path in sorted((ROOT / "nnunet_mgcl").rglob("*.py"))]
    sources += [(path, page(path)) for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]]
    sources += [(path, lines(path.read_text(encoding="utf-8"))) for path in sorted((ROOT / "scripts").glob("*.sh"))]
    found = {
        (str(path.relative_to(ROOT)), re.split(r"[.:] ", command.group())[0].rstrip(".:'"))
        for path, texts in sources
        for text in texts
        for command in COMMAND.finditer(text.split("  #")[0])
    }
    return sorted((where, command) for where, command in found if " -" in command)


class Parsed(Exception):
    """The parser has taken the command."""


@pytest.fixture
def parse(monkeypatch):
    """Hands a command to its program, up to what follows its parser."""
    original = argparse.ArgumentParser.parse_known_args
    known = []

    def parse_known_args(self, *arguments, **options):
        known.extend(self._option_string_actions)
        _, unknown = original(self, *arguments, **options)
        assert not unknown
        raise Parsed

    def run(command: str) -> None:
        words = shlex.split(command)
        program = cli.main if words[0] == "mgcl" else ENTRIES[words[0]].load()
        monkeypatch.setattr("sys.argv", words)
        monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", parse_known_args)
        whole = " -d " in command or re.search(r"_train \w+ \w+ \w", command)
        with pytest.raises(Parsed if whole else (Parsed, SystemExit)):
            program()
        assert {word for word in words if re.match("--?[a-zA-Z]", word)} <= set(known)

    return run


@pytest.mark.parametrize(("where", "command"), offered())
def test_offered_command_is_taken(parse, where, command):
    parse(command)


def test_the_messages_are_found():
    commands = [command for where, command in offered() if where.startswith("nnunet_mgcl")]
    assert "nnUNetv2_plan_and_preprocess -d 901" in commands
    assert any(command.startswith("nnUNetv2_preprocess -d 901 -plans_name") for command in commands)
    assert any(command.startswith("mgcl evaluate -d Dataset901_Tiny -tr") for command in commands)


def test_a_name_where_nnunet_wants_the_number_is_noticed(parse):
    for command in ("nnUNetv2_plan_and_preprocess -d Dataset901_Tiny", "nnUNetv2_preprocess -d Dataset901_Tiny -c 2d"):
        with pytest.raises(SystemExit):
            parse(command)
    with pytest.raises(AssertionError):
        parse("mgcl plan --sett x=1")
