"""An old Python ends with one line before it meets a module that it cannot read, and so does Ctrl-C while modules load."""

import ast
import subprocess
import sys

import pytest

from tests.helpers.scripts import ROOT, TRAIN
from utils.python_version import NEEDED, require_python

SCRIPTS = sorted(path.name for path in ROOT.glob("*.py") if path.name != "hubconf.py")
MESSAGE = "error: DSN needs Python 3.10 or newer; this is 3.9.18"
AS_OLD = "import runpy, sys; sys.version_info = (3, 9, 18, 'final', 0); "


def run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("version", [(2, 7, 18, "final", 0), (3, 9, 18, "final", 0)])
def test_an_older_python_is_named_with_the_version_needed(version, capsys):
    with pytest.raises(SystemExit) as end:
        require_python(version, "/usr/bin/python3")
    found = ".".join(map(str, version[:3]))
    assert end.value.code == 2
    assert capsys.readouterr() == ("", f"error: DSN needs Python 3.10 or newer; this is {found} (/usr/bin/python3)\n")


def test_a_new_enough_python_goes_on(capsys):
    for version in ((3, 10, 0, "final", 0), (4, 0, 0, "final", 0)):
        require_python(version, "python3")
    assert capsys.readouterr() == ("", "")


def test_the_version_needed_is_the_one_the_code_is_written_for():
    assert f'target-version = "py{NEEDED[0]}{NEEDED[1]}"' in (ROOT / "pyproject.toml").read_text()
    assert f"Python {NEEDED[0]}.{NEEDED[1]} or newer" in (ROOT / "README.md").read_text()


def test_what_an_old_python_reads_has_its_syntax():
    for name in [*SCRIPTS, "utils/__init__.py", "utils/python_version.py"]:
        ast.parse((ROOT / name).read_text(encoding="utf-8"), name, feature_version=(3, 6))


def test_every_script_imports_the_version_check_before_anything_else_of_ours():
    for name in SCRIPTS:
        imports = [node for node in ast.parse((ROOT / name).read_text()).body if isinstance(node, (ast.Import, ast.ImportFrom))]
        first = next(node for node in imports if getattr(node, "module", node.names[0].name) not in sys.stdlib_module_names)
        assert isinstance(first, ast.Import) and first.names[0].name == "utils.python_version", name


def test_a_script_ends_on_an_old_python():
    done = run(f"{AS_OLD} runpy.run_path({TRAIN!r}, run_name='__main__')")
    assert (done.returncode, done.stderr) == (2, f"{MESSAGE} ({sys.executable})\n")


def test_ctrl_c_while_modules_load_is_one_line():
    done = run("import utils.python_version; raise KeyboardInterrupt")
    assert (done.returncode, done.stderr) == (130, "\ninterrupted\n")
    assert "ValueError: shown" in run("import utils.python_version; raise ValueError('shown')").stderr


@pytest.mark.parametrize("words", [[], ["PYTHON={old}"]])
def test_make_says_it_too(tmp_path, words):
    """`python3` of the search path, or PYTHON, is an old one: make neither fills .venv with it nor runs the demo."""
    old = tmp_path / "python3"
    old.write_text(f"#!{sys.executable}\n{AS_OLD} runpy.run_path(sys.argv[1])\n")
    old.chmod(0o755)
    for name in ("Makefile", "requirements.txt", "requirements-page.txt", "utils"):
        (tmp_path / name).symlink_to(ROOT / name)
    done = subprocess.run(
        ["make", "-C", str(tmp_path), "demo", *(word.format(old=old) for word in words)],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert MESSAGE in done.stderr
    assert not (tmp_path / ".venv").exists() and "synthetic.draw" not in done.stdout
