"""An old Python is answered with one line, before it meets a module that it cannot read."""

import ast
import subprocess
import sys

import pytest

from tests.helpers.scripts import ROOT
from utils.python_version import NEEDED, require_python

SCRIPTS = sorted(path.name for path in ROOT.glob("*.py"))
READ_BY_OLD_PYTHONS = [*SCRIPTS, "utils/__init__.py", "utils/python_version.py"]


@pytest.mark.parametrize("version", [(3, 6, 15, "final", 0), (3, 9, 18, "final", 0), (2, 7, 18, "final", 0)])
def test_an_older_python_is_named_with_the_version_needed(version, capsys):
    with pytest.raises(SystemExit) as end:
        require_python(version, "/usr/bin/python3")
    found = ".".join(map(str, version[:3]))
    assert end.value.code == 2
    assert capsys.readouterr() == ("", f"error: DSN needs Python 3.10 or newer; this is {found} (/usr/bin/python3)\n")


@pytest.mark.parametrize("version", [(3, 10, 0, "final", 0), (3, 14, 1, "final", 0), (4, 0, 0, "final", 0), sys.version_info])
def test_a_new_enough_python_goes_on(version, capsys):
    require_python(version, "python3")
    assert capsys.readouterr() == ("", "")


def test_the_version_needed_is_the_one_the_code_is_written_for():
    assert f'target-version = "py{NEEDED[0]}{NEEDED[1]}"' in (ROOT / "pyproject.toml").read_text()
    assert f"Python {NEEDED[0]}.{NEEDED[1]} or newer is needed" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", READ_BY_OLD_PYTHONS)
def test_what_an_old_python_reads_has_its_syntax(name):
    ast.parse((ROOT / name).read_text(encoding="utf-8"), feature_version=(3, 6))


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_ends_on_an_old_python_before_it_imports_anything_else(script):
    run_as_old = (
        "import runpy, sys; sys.version_info = (3, 9, 18, 'final', 0); before = set(sys.modules);"
        "import atexit; atexit.register(lambda: print(sorted(set(sys.modules) - before)));"
        f"runpy.run_path({script!r}, run_name='__main__')"
    )
    run = subprocess.run([sys.executable, "-c", run_as_old], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 2
    assert run.stderr == f"error: DSN needs Python 3.10 or newer; this is 3.9.18 ({sys.executable})\n"
    others = {name for name in ast.literal_eval(run.stdout) if name.split(".")[0] not in sys.stdlib_module_names}
    assert others == {"utils"}  # the module that ended it counts as not imported


@pytest.mark.parametrize("words", [[], ["PYTHON={old}"]])
def test_make_says_it_too(tmp_path, words):
    """`python3` of the search path, or PYTHON, is an old one: make neither fills .venv with it nor runs the demo."""
    old = tmp_path / "python3"
    old.write_text(f"#!{sys.executable}\nimport runpy, sys\nsys.version_info = (3, 9, 18)\nrunpy.run_path(sys.argv[1])\n")
    old.chmod(0o755)
    for name in ("Makefile", "requirements.txt", "utils"):
        (tmp_path / name).symlink_to(ROOT / name)
    words = [word.format(old=old) for word in words]
    run = subprocess.run(
        ["make", "-C", str(tmp_path), "demo", *words],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 2
    assert "error: DSN needs Python 3.10 or newer; this is 3.9.18" in run.stderr
    assert not (tmp_path / ".venv").exists() and "synthetic.draw" not in run.stdout
