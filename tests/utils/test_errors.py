"""How a script ends: one line, an exit code, no traceback."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.scripts import ROOT
from utils.errors import InputError, is_disk_full, report_errors

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this system")


def end_of(program, output, *words):
    """(exit code, stderr) of a program in `report_errors` whose standard output is that file."""
    code = f"from utils.errors import InputError, report_errors\nwith report_errors():\n    {program}"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open(output, "w") as file:
        done = subprocess.run(
            [sys.executable, *words, "-c", code],
            stdout=file,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
            timeout=60,
        )
    return done.returncode, done.stderr


@needs_full
@pytest.mark.parametrize("program", ["print('few')", "print('many ' * 10_000)", "print('help'); raise SystemExit(0)"])
def test_output_that_cannot_be_written_is_one_line(program):
    code, err = end_of(program, FULL)
    assert code == 2 and len(err.splitlines()) == 1
    assert re.match("error: standard output( or a file)?: No space left on device", err)


@needs_full
def test_a_mistake_is_named_though_the_output_cannot_be_written():
    assert end_of("print('few'); raise InputError('a mistake')", FULL) == (2, "error: a mistake\n")
    code, err = end_of("print('few')", FULL, "-u")
    assert code == 2 and "No space left on device" in err and len(err.splitlines()) == 1


@needs_full
@pytest.mark.parametrize("words", [(), ("-u",)], ids=["buffered", "unbuffered"])
def test_help_that_cannot_be_written_is_one_line(words):
    code, err = end_of("from utils.parser import Parser; Parser('Does nothing.').parse_args(['--help'])", FULL, *words)
    assert code == 2 and "No space left on device" in err and len(err.splitlines()) == 1


def test_letters_that_the_output_cannot_encode_are_written_out():
    code = "from utils.errors import InputError, report_errors\nwith report_errors():\n"
    code += "    print('\\xf7 100')\n    raise InputError('写真: no such file')"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment, timeout=60)
    assert (done.returncode, done.stdout) == (2, "\\xf7 100\n")
    assert done.stderr == "error: \\u5199\\u771f: no such file\n"


def test_a_reader_that_has_gone_is_no_fault():
    code = "from utils.errors import report_errors\nwith report_errors():\n    input(); print('nobody reads this')"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        process.stdout.close()
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.stderr.read() == b"" and process.wait(60) == 141


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "error: standard output or a file: No space left on device; free some space",
        ),
        (OSError(errno.ENOSPC, "No space left on device", "a\nb"), r"error: a\nb: No space left on device; free some space"),
        (PermissionError(errno.EACCES, "Permission denied", "file"), "error: file: Permission denied; check that"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(error, line, capsys):
    with pytest.raises(SystemExit, match="2"), report_errors():
        raise error
    err = capsys.readouterr().err
    assert err.startswith(line) and len(err.splitlines()) == 1


def test_other_errors_of_the_system_are_left_to_the_programmer():
    with pytest.raises(OSError, match="Bad file"), report_errors():
        raise OSError(errno.EBADF, "Bad file descriptor")


def test_a_full_disk_is_known_by_what_caused_an_error():
    error = InputError("cannot be written")
    assert not is_disk_full(error)
    error.__cause__ = error  # as pymilvus's
    assert not is_disk_full(error)
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert is_disk_full(error)


@pytest.mark.parametrize(("name", "code"), [("torch", 2), ("numpy", 1)])
def test_a_missing_pytorch_is_one_line(name, code, tmp_path):
    """Any other missing library is a fault of the installation, and keeps its traceback."""
    found, err = end_of(f"import sys; sys.modules[{name!r}] = None; import {name}", tmp_path / "out")
    assert found == code and err.startswith("error: PyTorch is not installed: ") == (name == "torch"), err
