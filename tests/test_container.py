"""The image of the Dockerfile holds every file that search.py imports."""

import ast

from tests.helpers.scripts import ROOT


def imported(path):
    """The project's files that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        modules = [f"{node.module}.{name}" for name in names] + [node.module] if isinstance(node, ast.ImportFrom) else names
        yield from (file for module in modules if module and (file := ROOT / f"{module.replace('.', '/')}.py").is_file())


def test_what_is_imported_is_copied():
    reached, found = set(), [ROOT / "search.py", *(ROOT / "photo_search").rglob("*.py")]
    while found:
        path = found.pop()
        if path not in reached:
            reached.add(path)
            found += imported(path)
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")}
    assert {path.relative_to(ROOT).parts[0] for path in reached} == {name for name in kept if "*" not in name}
