"""Folders to prepare, a way to run prepare_dataset.py, and no WordNet unless a test brings one."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import preparation.mask
from tests.helpers.trees import write_tree
from utils.errors import InputError


@pytest.fixture(autouse=True)
def no_wordnet(monkeypatch: pytest.MonkeyPatch) -> None:
    """WordNet is neither looked for on the machine nor downloaded."""

    def none(folder: Path | None = None) -> None:
        raise InputError("no WordNet in this test")

    monkeypatch.setattr(preparation.mask, "open_wordnet", none)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Own folders: six classes of four photos and six sketches, 40 px."""
    return write_tree(tmp_path / "mine", ["apple", "bell", "cup", "duck", "eye", "fish"], photos=4, sketches=6)


@pytest.fixture
def prepare(run_script: Callable) -> Callable:
    """prepare(dataset, source…, option…) → (exit code, stdout, the line of the error)."""

    def run(dataset: str, *arguments: object) -> tuple[int, str, str]:
        sources = [argument for argument in arguments if isinstance(argument, os.PathLike)]
        options = [argument for argument in arguments if not isinstance(argument, os.PathLike)]
        code, out, err = run_script("prepare_dataset.py", dataset, "--source", *sources, "--num_workers", 1, *options)
        line = err.splitlines()[-1] if code else ""
        assert "Traceback" not in err and line.startswith("error: ") == bool(code)
        return code, out, line

    return run
