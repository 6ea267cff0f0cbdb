"""How the package is built: its rooms import downwards only, and no file, function or folder outgrows a reader."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "nnunet_mgcl"
ROOMS = (
    "system losses network plan data engine pictures evaluation mismatch tss inference pretraining report training"
    " study convert|phantom commands cli"
)
"""Lowest first; convert and phantom stand side by side."""
LEVELS = {room: level for level, rooms in enumerate(ROOMS.split()) for room in rooms.split("|")}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def imported(tree: ast.AST, modules: set[str]) -> set[str]:
    """The package's modules that a file imports anywhere, also in functions and for type checkers."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "a relative import"
            inside = {f"{node.module}.{alias.name}" for alias in node.names} & modules
            names |= inside or {str(node.module)}
    return names & modules


def circles(imports: dict[str, set[str]]) -> Iterator[str]:
    """Every group of modules that import each other, directly or by way of others."""

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        ahead = set(imports[start])
        while ahead:
            seen |= ahead
            ahead = set().union(*(imports[module] for module in ahead)) - seen
        return seen

    below = {module: reachable(module) for module in imports}
    yield from {
        ", ".join(sorted(other for other in below[module] if module in below[other]))
        for module in imports
        if module in below[module]
    }


def upward(imports: dict[str, set[str]]) -> Iterator[str]:
    """The imports of a room that does not lie below."""
    for module, others in imports.items():
        room = module.split(".")[1]
        for other in others:
            below = other.split(".")[1]
            if room != below and LEVELS[below] >= LEVELS[room]:
                yield f"{module} imports {other}"


def test_rooms_import_downwards_and_nothing_outgrows_a_reader() -> None:
    paths = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    modules = {module_name(path) for path in paths}
    imports = {module_name(path): imported(tree, modules) for path, tree in trees.items()}
    wrong = [f"circle: {group}" for group in circles(imports)] + list(upward(imports))

    folders = {path.parent for path in paths}
    beside = {child for child in PACKAGE.iterdir() if child.suffix == ".py" or child in folders}
    entries = len(beside - {PACKAGE / "__init__.py", PACKAGE / "cli.py"})
    wrong += [f"{entries} entries in nnunet_mgcl/"] * (entries > 18)
    for folder in folders:
        files = list(folder.glob("*.py"))
        wrong += [f"{folder}: {len(files)} files"] * (len(files) > 16)
        package = folder / "__init__.py"
        described = package.exists() and ast.get_docstring(ast.parse(package.read_text(encoding="utf-8")))
        wrong += [] if described else [f"{package}: no docstring"]

    for path, tree in trees.items():
        length = len(path.read_text(encoding="utf-8").splitlines())
        wrong += [f"{path}: {length} lines"] * (length > 300)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = node.end_lineno - node.lineno + 1
                wrong += [f"{path}: {node.name} has {length} lines"] * (length > 50)
    assert not wrong, "\n".join(wrong).replace(f"{PACKAGE.parent}/", "")
