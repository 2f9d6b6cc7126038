"""A tiny dataset in SAKE's layout, and a way to run an entry script as a user would."""

import os
import runpy
import sys
from pathlib import Path

import pytest
import torch

from tests.helpers.scripts import ROOT
from tests.helpers.tiny_dataset import write_tiny_dataset

torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)


@pytest.fixture
def tiny_dataset(tmp_path: Path) -> Path:
    """A data root of its own, to be damaged at will."""
    return write_tiny_dataset(tmp_path / "dataset")


@pytest.fixture(scope="session")
def shared_dataset(tmp_path_factory) -> Path:
    """A data root that no test may change."""
    return write_tiny_dataset(tmp_path_factory.mktemp("shared") / "dataset")


@pytest.fixture
def run_script(monkeypatch, capsys):
    """run(name, *arguments) → (exit code, stdout, stderr) of an entry script, in this process."""

    def run(name: str, *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        code = 0
        try:
            runpy.run_path(str(ROOT / name), run_name="__main__")
        except SystemExit as end:
            code = end.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return run
