"""Trees of files as people have them, and no WordNet unless a test brings one."""

import os

import pytest

import preparation.mask_files
from preparation.wordnet import NoWordNet
from tests.helpers.trees import write_tree


@pytest.fixture(autouse=True)
def no_wordnet(monkeypatch):
    """Nothing is looked up on the machine, nor downloaded."""

    def none(folder=None):
        raise NoWordNet("no WordNet in this test")

    monkeypatch.setattr(preparation.mask_files, "open_wordnet", none)


@pytest.fixture
def mine(tmp_path):
    """Folders of one's own: six classes of four photos and six sketches, 40 px."""
    return write_tree(tmp_path / "mine", ["apple", "bell", "cup", "duck", "eye", "fish"], photos=4, sketches=6)


@pytest.fixture
def prepare(run_script):
    """prepare(dataset, source…, option…) → (exit code, stdout, the line of the error)."""

    def run(dataset, *arguments):
        sources = [argument for argument in arguments if isinstance(argument, os.PathLike)]
        options = [argument for argument in arguments if not isinstance(argument, os.PathLike)]
        code, out, err = run_script("prepare_dataset.py", dataset, "--source", *sources, "--num_workers", 1, *options)
        line = err.splitlines()[-1] if code else ""
        assert "Traceback" not in err and line.startswith("error: ") == bool(code)
        return code, out, line

    return run
