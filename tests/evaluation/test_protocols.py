"""Queries and gallery of each protocol, counted by hand on the tiny dataset's lists."""

from pathlib import Path

import numpy as np
import pytest

from datasets.catalog import SKETCHY
from datasets.file_lists import Split
from evaluation.config import ProtocolOptions
from evaluation.protocols import protocol_of, training_samples
from models.names import PHOTO, SKETCH
from tests.helpers.tiny_dataset import SEEN, UNSEEN
from utils.errors import InputError


@pytest.fixture
def split(shared_dataset):
    return Split(SKETCHY, shared_dataset, "zeroshot1")


def protocol(split, **options):
    return protocol_of(split, ProtocolOptions(**options))


def named(files, names):
    """{(class by the name of its folder, class by its label): count}; the two must agree."""
    pairs = [(path.split("/")[1], names[label]) for path, label in zip(files.paths, files.labels, strict=True)]
    return {pair: pairs.count(pair) for pair in set(pairs)}


def test_zero_shot_is_the_lists_as_they_are(split):
    found = protocol(split)
    assert found.queries.paths == split.sketches("zero").paths and found.query_domain == SKETCH
    assert found.gallery.paths == split.photos("zero").paths
    assert (found.names, found.text) == (UNSEEN, "zero-shot")


def test_generalized_adds_a_share_of_every_seen_class(split):
    found = protocol(split, generalized=0.25)
    unseen = {(name, name): 12 for name in UNSEEN}
    assert named(found.gallery, found.names) == unseen | {(name, name): 3 for name in SEEN}
    assert named(found.queries, found.names) == {(name, name): 6 for name in UNSEEN}
    assert found.names == UNSEEN + SEEN and "0.25" in found.text
    assert protocol(split, generalized=0.25).gallery.paths == found.gallery.paths
    assert named(protocol(split, generalized=1).gallery, found.names) == unseen | {(name, name): 12 for name in SEEN}
    assert min(named(protocol(split, generalized=0.001).gallery, found.names).values()) == 1


def test_photo_to_photo_asks_with_photos_that_are_not_searched(split):
    found = protocol(split, photo_to_photo=4)
    assert found.query_domain == PHOTO
    assert named(found.queries, found.names) == {(name, name): 4 for name in UNSEEN}
    assert named(found.gallery, found.names) == {(name, name): 8 for name in UNSEEN}
    assert set(found.queries.paths) | set(found.gallery.paths) == set(split.photos("zero").paths)
    assert protocol(split, photo_to_photo=4).queries.paths == found.queries.paths
    with pytest.raises(InputError, match="--photo_to_photo 12: leaves no photo of star"):
        protocol(split, photo_to_photo=12)


def test_classes_seen_elsewhere_are_dropped(split, tmp_path, capsys):
    (tmp_path / "cname_cid.txt").write_text("mug 0\nTea-Pot 1\n")
    for given in (tmp_path, tmp_path / "cname_cid.txt"):
        found = protocol(split, also_seen=[given])
        assert named(found.gallery, found.names) == {("star", "star"): 12}
        assert named(found.queries, found.names) == {("star", "star"): 6}
        assert "drops 1 of 2 classes: tea pot (Tea-Pot)" in capsys.readouterr().out
        assert "tea pot" in found.text
    (tmp_path / "cname_cid.txt").write_text("cup 0\n")
    assert protocol(split, also_seen=[tmp_path]).text == "zero-shot"
    assert "drops nothing" in capsys.readouterr().out
    (tmp_path / "cname_cid.txt").write_text("star 0\nteapot 1\n")
    with pytest.raises(InputError, match="saw all 2 classes"):
        protocol(split, also_seen=[tmp_path])


def test_a_dataset_also_seen_that_is_not_there_is_named_with_those_that_are(split, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Empty/zeroshot1").mkdir(parents=True)
    there = f"name a split folder, of which {split.root.parent} has: {split.folder}"
    with pytest.raises(InputError) as error:
        protocol(split, also_seen=[Path("Nope/zeroshot1")])
    assert str(error.value) == f"--also_seen Nope/zeroshot1: no such file or folder ({tmp_path}/Nope/zeroshot1); {there}"
    with pytest.raises(InputError) as error:
        protocol(split, also_seen=[Path("Empty/zeroshot1")])
    fault = f"the folder holds no cname_cid.txt ({tmp_path}/Empty/zeroshot1/cname_cid.txt)"
    assert str(error.value) == f"--also_seen Empty/zeroshot1: {fault}; {there}"


def test_protocols_combine(split, tmp_path):
    (tmp_path / "cname_cid.txt").write_text("star 0\n")
    found = protocol(split, also_seen=[tmp_path], photo_to_photo=2, generalized=0.5)
    assert named(found.queries, found.names) == {("tea pot", "tea pot"): 2}
    assert named(found.gallery, found.names) == {("tea pot", "tea pot"): 10} | {(name, name): 6 for name in SEEN}


def test_training_samples_are_training_images(split, monkeypatch):
    sketches, photos = training_samples(split)
    assert sorted(sketches.paths) == sorted(split.sketches("train").paths)
    assert sorted(photos.paths) == sorted(split.photos("train").paths)
    monkeypatch.setattr("evaluation.protocols.ITQ_SAMPLE", 5)
    few = training_samples(split)[1]
    assert len(few) == 5 and set(few.paths) < set(photos.paths)
    assert np.array_equal(few.labels, training_samples(split)[1].labels)
