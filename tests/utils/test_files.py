"""Atomic writes, what killed writers leave, locks, and the peak memory as text."""

import contextlib
import os
import subprocess
import sys

import pytest
import torch

from tests.helpers.scripts import ROOT
from utils.errors import InputError
from utils.files import atomic_folder, atomic_write, exclusive_lock, hidden_beside, remove_unfinished, require_writable
from utils.ram import peak_memory


def file_name(length: int) -> str:
    return f"{'x' * (length - 4)}.npz"


@pytest.mark.parametrize("length", [200, 230, 255])
def test_files_of_the_longest_names_are_written_and_the_previous_kept(tmp_path, length):
    path, previous = tmp_path / file_name(length), tmp_path / file_name(length).replace("x", "y")
    require_writable(path, "--out", ".npz")
    for content in ("first", "second"):
        with atomic_write(path, previous) as temporary:
            assert temporary.suffix == ".npz" and temporary.name != path.name
            temporary.write_text(content)
    assert path.read_text() == "second" and previous.read_text() == "first"
    assert sorted(os.listdir(tmp_path)) == sorted([path.name, previous.name])


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("failing", [1, 2])  # moving the old folder away; moving the new one to its place
def test_a_folder_that_cannot_be_replaced_stays(tmp_path, monkeypatch, failing):
    path, renamed, calls = tmp_path / "folder", os.replace, []
    path.mkdir()
    (path / "old").write_text("")

    def fails(*paths):
        calls.append(paths)
        if len(calls) == failing:
            raise OSError(5, "Input/output error")
        renamed(*paths)

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(InputError, match=r"folder: cannot be written \(Input/output error\)"), atomic_folder(path) as temporary:
        (temporary / "new").write_text("")
    assert os.listdir(tmp_path) == ["folder"] and os.listdir(path) == ["old"]
    with atomic_folder(path) as temporary:
        (temporary / "new").write_text("")
    assert os.listdir(tmp_path) == ["folder"] and os.listdir(path) == ["new"]


def test_an_unwritable_target_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/a\.txt"), atomic_write(tmp_path / "file" / "a.txt"):
        pass


@pytest.mark.parametrize("length", [20, 255])
def test_what_killed_writers_left_is_removed(tmp_path, length):
    path = tmp_path / file_name(length)
    with contextlib.suppress(KeyError), atomic_write(path) as temporary:
        left = temporary.name
        raise KeyError
    (tmp_path / left).write_text("half")
    hidden_beside(path, "link").write_text("the previous file, not yet renamed")
    remove_unfinished(path)
    assert not os.listdir(tmp_path)


def lock_elsewhere(path) -> str:
    code = (
        "import pathlib, sys; from utils.errors import report_errors; from utils.files import exclusive_lock\n"
        "with report_errors(), exclusive_lock(pathlib.Path(sys.argv[1]), 'in use'): print('locked')"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, cwd=ROOT, timeout=60)
    return done.stdout + done.stderr


def test_a_lock_refuses_other_processes_while_it_is_held(tmp_path):
    path = tmp_path / ".lock"
    with exclusive_lock(path, "in use"):
        assert lock_elsewhere(path) == "error: in use\n"
    assert lock_elsewhere(path) == "locked\n"


def test_peak_memory_has_a_unit():
    assert peak_memory(torch.device("cpu")).endswith((" GB in this process", " MB in this process"))
