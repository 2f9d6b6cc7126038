"""Cached features are found again only while nothing they depend on has changed."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from datasets.catalog import SKETCHY
from datasets.file_lists import Split
from evaluation.embedding import Embedder
from evaluation.feature_cache import FeatureCache
from models.cse_resnet import PHOTO, SKETCH
from models.dsn import Student

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(0)
    return Student(8, 3, 10).eval()


@pytest.fixture
def files(tiny_dataset):
    return Split(SKETCHY, tiny_dataset, "zeroshot1").sketches("zero").subset(np.arange(4))


def embedder(student, folder, **changes):
    return replace(Embedder(student, CPU, 32, 4, 0, cache=FeatureCache(folder, student)), **changes)


def test_features_are_made_once(student, files, tmp_path, capsys, monkeypatch):
    embed = embedder(student, tmp_path / "features")
    made = embed(files, SKETCH, "queries")
    monkeypatch.setattr(Student, "forward", lambda *_: pytest.fail("embedded again"))
    assert torch.equal(embed(files, SKETCH, "queries"), made)
    assert "features from" in capsys.readouterr().out


def change_weight(student):
    changed = Student(8, 3, 10).eval()
    changed.load_state_dict(student.state_dict())
    with torch.no_grad():
        next(changed.parameters()).view(-1)[3] += 1e-6
    return changed


def test_whatever_changes_makes_them_anew(student, files, tmp_path):
    def place(embed, files, domain=SKETCH):
        before = set(os.listdir(tmp_path))
        embed(files, domain, "queries")
        new = set(os.listdir(tmp_path)) - before
        return len(new)

    embed = embedder(student, tmp_path)
    assert place(embed, files) == 1
    assert place(embed, files) == 0
    assert place(embed, files, PHOTO) == 1
    assert place(replace(embed, image_size=48), files) == 1
    assert place(replace(embed, pooled=True), files) == 1
    assert place(replace(embed, amp="bf16"), files) == 1
    assert place(embedder(change_weight(student), tmp_path), files) == 1
    assert place(embed, files.subset([1, 0, 2, 3])) == 1
    assert place(embed, files.subset([0, 1, 2])) == 1
    image = files.root / files.paths[0]
    os.utime(image, ns=(0, 12345))
    assert place(embed, files) == 1
    image.write_bytes(image.read_bytes() + b"\0")
    os.utime(image, ns=(0, 12345))
    assert place(embed, files) == 1
    assert place(replace(embed, batch_size=2), files) == 0  # how they are fed in batches is no reason


def test_damaged_files_are_made_anew(student, files, tmp_path):
    embed = embedder(student, tmp_path / "features")
    made = embed(files, SKETCH, "queries")
    (kept,) = (tmp_path / "features").iterdir()
    whole = kept.read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(made.numpy().tobytes()) + 5] ^= 1
    for damage in (b"", whole[:100], whole[:-30], bytes(flipped)):
        kept.write_bytes(damage)
        assert torch.equal(embed(files, SKETCH, "queries"), made)
        assert kept.read_bytes() == whole
    np.savez(kept, features=np.zeros((3, 8), np.float32))
    assert torch.equal(embed(files, SKETCH, "queries"), made)


def test_a_folder_that_cannot_be_written_is_no_obstacle(student, files, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    embedder(student, tmp_path / "file" / "features")(files, SKETCH, "queries")
    assert "features are not cached" in capsys.readouterr().out
