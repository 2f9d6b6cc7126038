"""Rules that hold for all files: which room imports which, what tests may use, and how long files and functions are."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.scripts import ROOT

BELOW = {  # room → rooms it may import besides itself
    "utils": set(),
    "losses": {"utils"},
    "retrieval": {"utils"},
    "datasets": {"utils"},
    "models": {"utils", "datasets"},
    "report": {"utils", "retrieval"},
    "preparation": {"utils", "datasets"},
    "synthetic": {"utils", "datasets", "preparation"},  # its contact sheet
    "evaluation": {"utils", "datasets", "models", "retrieval", "report"},
    "training": {"utils", "datasets", "models", "losses", "retrieval", "evaluation"},  # validation
    "photo_search": {"utils", "datasets", "models", "retrieval", "synthetic"},  # example sketches
}
MAX_FILE_LINES, MAX_FUNCTION_LINES = 300, 60
LONG_FILES = {"synthetic/shapes.py"}  # coordinates
SCRIPTS = sorted(path.name for path in ROOT.glob("*.py") if path.name != "hubconf.py")
CODE = sorted(path for room in (*BELOW, "benchmarks") for path in (ROOT / room).rglob("*.py")) + sorted(ROOT.glob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """(module, imported name or "") of each import at any depth."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


@pytest.mark.parametrize("room", BELOW)
def test_a_room_imports_rooms_below_it(room):
    for path in (ROOT / room).rglob("*.py"):
        found = {module.split(".")[0] for module, _ in imports(path)} & {*BELOW, "benchmarks", "tests"}
        assert found <= BELOW[room] | {room}, name_of(path)


def test_no_file_imports_a_script():
    names = {Path(script).stem for script in SCRIPTS}
    for path in CODE + TESTS:
        assert not names & {module for module, _ in imports(path)}, name_of(path)


def test_no_test_imports_a_test():
    for path in TESTS:
        modules = [part for module, name in imports(path) for part in f"{module}.{name}".split(".") if module.startswith("tests")]
        assert not [part for part in modules if part == "conftest" or part.startswith("test_")], name_of(path)


def private_uses(path: Path) -> Iterator[str]:
    """Private names of our code that a test imports, reads from an imported name, or patches."""
    imported = {name for module, name in imports(path) if module.split(".")[0] in BELOW}
    ours = imported | {*BELOW}
    yield from filter(is_private, imported)
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and ast.unparse(node.value).split(".")[0] in ours:
            yield ast.unparse(node)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("setattr", "object", "patch"):  # monkeypatch, mock
            target = ".".join(ast.unparse(argument).strip("'\"") for argument in node.args[:2]).split(".")
            if target[0] in ours and any(map(is_private, target)):
                yield ".".join(target)


@pytest.mark.parametrize("path", TESTS, ids=name_of)
def test_no_test_uses_a_private_name(path):
    assert not list(private_uses(path))


def test_files_and_functions_are_short():
    for path in CODE:
        lines = path.read_text(encoding="utf-8").count("\n")
        assert lines <= MAX_FILE_LINES or name_of(path) in LONG_FILES, name_of(path)
        for node in ast.walk(tree(path)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                assert node.end_lineno - node.lineno < MAX_FUNCTION_LINES, f"{name_of(path)}: {node.name}"


def test_options_use_number_types_with_a_range():
    """argparse's `type=int` admits numbers that overflow later, and its errors do not state the range."""
    for path in CODE:
        for node in ast.walk(tree(path)) if path.parent.name != "benchmarks" else ():
            if isinstance(node, ast.keyword) and node.arg == "type" and isinstance(node.value, ast.Name):
                assert node.value.id not in ("int", "float"), f"{name_of(path)}:{node.lineno}"


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_begins_with_a_sentence_and_its_commands(script):
    sentence, blank, command, *_ = (ast.get_docstring(tree(ROOT / script)) or "").splitlines()
    assert sentence and not blank and command.startswith(f"python {script}")
