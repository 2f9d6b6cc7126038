"""Cached features are found again only while nothing they depend on has changed."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from datasets.catalog import SKETCHY
from datasets.file_lists import Split
from datasets.preprocessing import Preprocessing
from evaluation.embedding import Embedder
from evaluation.feature_cache import FeatureCache
from models.dsn import Student
from models.embedding import EmbeddingNetwork, embedding_network
from models.engine import BF16, FLOAT32
from models.names import PHOTO, SKETCH
from models.restore import weights_digest
from models.torch_engine import TorchEngine

CPU = torch.device("cpu")


def network(change=0.0, image_size=32, pooled=False, **rules):
    torch.manual_seed(0)
    student = Student(8, 3, 10).eval()
    with torch.no_grad():
        next(student.parameters()).view(-1)[3] += change
    return embedding_network(student, Preprocessing(image_size, **rules), pooled)


@pytest.fixture
def files(tiny_dataset):
    return Split(SKETCHY, tiny_dataset, "zeroshot1").sketches("zero").subset(np.arange(4))


def embedder(network, folder, precision=FLOAT32):
    images, pooled = network.preprocessing.as_dict(), network.projection is None
    cache = FeatureCache(folder, weights=weights_digest(network), images=images, pooled=pooled, precision=precision)
    return Embedder(TorchEngine(network, CPU, precision), CPU, 4, 0, cache=cache)


def test_features_are_made_once(files, tmp_path, capsys, monkeypatch):
    embed = embedder(network(), tmp_path / "features")
    made = embed(files, SKETCH, "queries")
    monkeypatch.setattr(EmbeddingNetwork, "embed", lambda *_: pytest.fail("embedded again"))
    assert torch.equal(embed(files, SKETCH, "queries"), made)
    assert "features from" in capsys.readouterr().out


def test_whatever_changes_makes_them_anew(files, tmp_path):
    def place(embed, files, domain=SKETCH):
        before = set(os.listdir(tmp_path))
        embed(files, domain, "queries")
        new = set(os.listdir(tmp_path)) - before
        return len(new)

    embed = embedder(network(), tmp_path)
    assert place(embed, files) == 1
    assert place(embed, files) == 0
    assert place(embed, files, PHOTO) == 1
    assert place(embedder(network(), tmp_path, BF16), files) == 1
    for changes in ({"image_size": 48}, {"pooled": True}, {"change": 1e-6}, {"interpolation": "bicubic"}):
        assert place(embedder(network(**changes), tmp_path), files) == 1
    assert place(embed, files.subset([1, 0, 2, 3])) == 1
    assert place(embed, files.subset([0, 1, 2])) == 1
    image = files.root / files.paths[0]
    os.utime(image, ns=(0, 12345))
    assert place(embed, files) == 1
    image.write_bytes(image.read_bytes() + b"\0")
    os.utime(image, ns=(0, 12345))
    assert place(embed, files) == 1
    assert place(replace(embed, batch_size=2), files) == 0  # how they are fed in batches is no reason


def test_damaged_files_are_made_anew(files, tmp_path):
    embed = embedder(network(), tmp_path / "features")
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


def test_a_folder_that_cannot_be_written_is_no_obstacle(files, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    embedder(network(), tmp_path / "file" / "features")(files, SKETCH, "queries")
    assert "features are not cached" in capsys.readouterr().out
