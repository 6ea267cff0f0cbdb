"""Holds README.md and docs/ to the code that they describe."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from pathlib import Path

import pytest

from nnunet_mgcl import cli
from nnunet_mgcl.plan.config import config_model
from nnunet_mgcl.plan.plans import resolve_block
from nnunet_mgcl.training import comparators, variants

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def code_blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def defined_tests(file: Path) -> set[str]:
    """`test_x` and `TestX::test_y`."""
    names = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}::{f.name}" for f in node.body if isinstance(f, ast.FunctionDef)}
        elif isinstance(node, ast.FunctionDef):
            names.add(node.name)
    return names


def test_configuration_page_is_current():
    """Where this fails: python docs/make_configuration.py."""
    path = ROOT / "docs" / "make_configuration.py"
    spec = importlib.util.spec_from_file_location("make_configuration", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.TARGET.read_text() == script.configuration_page()


@each_page
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    for link in links:
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
    assert links


@each_page
def test_files_and_tests_named_in_the_text_exist(page):
    folders = "nnunet_mgcl|trainers|docs|scripts|tests|plans"
    for path, test in re.findall(rf"\b((?:{folders})/[\w/]+\.(?:py|sh|json)\b)(?:::([\w:]+))?", page.read_text()):
        assert (ROOT / path).is_file(), path
        assert not test or test in defined_tests(ROOT / path), f"{path}::{test}"


def test_every_equation_is_pinned_by_a_test():
    sections = re.split(r"^#+ ", (ROOT / "docs" / "method.md").read_text(), flags=re.MULTILINE)
    equations = {section.splitlines()[0]: section for section in sections if section.startswith("Eq. ")}
    assert {int(n) for title in equations for n in covered(title)} == set(range(1, 21))
    for title, section in equations.items():
        assert "tests/" in section and "nnunet_mgcl/" in section, title


def covered(title: str) -> list[int]:
    """`Eq. 12 to 14` as [12, 13, 14]; `Eq. 2 and 6` as [2, 6]."""
    numbers = [int(number) for number in re.findall(r"\d+", title)]
    return list(range(numbers[0], numbers[1] + 1)) if " to " in title else numbers


@each_page
def test_keys_named_in_the_text_exist(page):
    fields = config_model().model_fields
    for section, key in re.findall(r"`(\w+)\.(\w+)`", page.read_text()):
        if section in fields and key != "csv":
            assert key in fields[section].annotation.model_fields, f"{section}.{key}"


COMPARATORS = [name for name in vars(comparators) if name.endswith("Trainer") and name != "MGCLTrainer"]


def test_readme_names_every_command_and_trainer():
    text = (ROOT / "README.md").read_text()
    for name in [*(f"mgcl {command}" for command in cli.COMMANDS), *variants.__all__, *COMPARATORS]:
        assert f"| `{name}` |" in text, name


def test_example_dataset_json_is_accepted(plans):
    blocks = code_blocks(ROOT / "docs" / "data.md", "json")
    (example,) = [json.loads(block) for block in blocks if block.startswith("{")]
    config = resolve_block(plans, "2d", example, tss_known=False)
    assert config.lesion_labels == example["mgcl"]["lesion_labels"]
