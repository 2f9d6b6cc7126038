"""What every home of an index must do, held to dictionaries: the folder, and Milvus, here Milvus Lite."""

import os
import sys

import numpy as np
import pytest

from photo_search.store import PhotoFile, ShardState
from tests.helpers.stores import HOMES, PlainStore, open_home, random_unit, release_lite, require_home
from utils.errors import InputError

WIDTH, SHARD = 16, "s3://bucket/photos-{0}.tar"
NAMES = ["/a/plain.png", '/a/it\'s "100 %".png', "/a/日本 é.png", "/a/%0041.png", "/a/new\nline \\.png", "/b/only in b.png"]
NAMES += [os.fsdecode(b"/a/not \xff UTF-8 %FF.png")] if sys.platform == "linux" else []


@pytest.fixture(params=HOMES)
def home(request):
    return require_home(request.param)


@pytest.fixture
def reopened(home, tmp_path):
    """reopened(): the index of 16 numbers, as another process finds it; Lite's file has one user, so earlier stores end."""

    def reopen():
        if home == "milvus":
            release_lite(tmp_path / "index.db")
        return open_home(home, tmp_path / "index")

    open_home(home, tmp_path / "index", make=True).keep_facts(width=WIDTH, format=1)
    yield reopen
    if home == "milvus":
        release_lite(tmp_path / "index.db")


def photo_files(count):
    files = [PhotoFile(name, 10 + row, 2**62 + row) for row, name in enumerate(NAMES)]
    members = [PhotoFile(f"{SHARD}/{row}", row, 7, SHARD, 512 * row) for row in range(count - len(files))]
    return files + members


def assert_same(store, plain, seed=9):
    assert len(store) == len(plain.readable)
    assert store.unreadable() == {path: reason for path, (_, reason) in plain.faulty.items()}
    assert [store.known(shard) for shard in ("", SHARD)] == [plain.known(shard) for shard in ("", SHARD)]
    queries = random_unit(3, WIDTH, seed)
    ids, similarity = store.search(queries, 10)
    photos, vectors = store.photos_of(ids.ravel().tolist()), store.vectors_of(ids.ravel().tolist())
    for query, row, values in zip(queries, ids.tolist(), similarity, strict=True):
        best = plain.best(query, 10)
        assert [photos[id_].path for id_ in row] == [path for _, path in best]
        np.testing.assert_allclose(values, [cosine for cosine, _ in best], atol=1e-5)
        for id_ in row:
            photo, vector = plain.readable[photos[id_].path]
            assert photos[id_] == photo
            np.testing.assert_allclose(vectors[id_], vector, atol=1e-7)


def test_photos_come_change_and_go_as_in_a_dictionary(reopened):
    store, plain, photos, vectors = reopened(), PlainStore(), photo_files(60), random_unit(60, WIDTH)
    faults = {photos[0]: "no image", photos[20]: "cut short"}
    changed = [photo._replace(size=1000 + photo.size, changed=3) for photo in photos]
    changes = [
        ("add", photos[1:20], vectors[1:20], faults),
        ("add", photos[21:], vectors[21:], {}),
        ("add", photos[1:3], vectors[1:3], {}),  # again
        ("add", [changed[1], changed[0]], vectors[40:42], {changed[5]: "no longer an image"}),
        ("remove", [photos[4], photos[20], photos[30], PhotoFile("/never/there", 1, 1)]),
        ("add", [], vectors[:0], {}),
    ]
    for name, *arguments in changes:
        for each in (store, plain):
            getattr(each, name)(*arguments)
    assert_same(store, plain)
    store = reopened()
    assert_same(store, plain)
    assert store.photos_of([5, 2**63 - 1]) == store.vectors_of([2**63 - 1]) == {}
    assert store.search(vectors[:1], 1000)[0].shape == (1, len(plain.readable))


def test_ids_stay_those_of_unchanged_photos(reopened):
    store, photos, vectors = reopened(), photo_files(12), random_unit(12, WIDTH)
    store.add(photos, vectors, {})
    before = store.search(vectors[:2], 12)[0]
    store.remove(photos[5:])
    store.add(photos[5:], vectors[5:], {})
    after = store.search(vectors[:2], 12)[0]
    assert before[:, 0].tolist() == after[:, 0].tolist()
    assert after.min() >= 0 and after.max() < 2**63


def test_an_empty_index_finds_nothing(home, tmp_path, reopened):
    store = reopened()
    for codes in (False, True):
        assert store.search(random_unit(2, WIDTH), 5, codes)[0].shape == (2, 0)
    assert store.prepare(False) == "no photo is left in the index"
    assert store.known() == store.unreadable() == store.shards() == store.photos_of([1]) == {}
    assert len(store) == 0


def test_facts_of_any_size_are_kept(reopened):
    large = {"left_out": [f"/photos/{row} é \udcff" for row in range(9000)], "number": 1.5, "nothing": None}
    reopened().keep_facts(**large)
    store = reopened()
    assert [store.fact(name) for name in large] == list(large.values())
    assert store.fact("unknown", "default") == "default"
    store.keep_facts(left_out=["short"])
    identity = store.fact("identity")
    store = reopened()
    assert store.fact("left_out") == ["short"]
    assert store.fact("identity") == identity and identity


def test_shards_and_links_are_kept(reopened):
    store = reopened()
    states = {f"{SHARD}{row}": ShardState(row, 2**61, is_done=row % 2 == 0) for row in range(4)}
    store.keep_shards(dict(states))
    store.keep_shards({f"{SHARD}0": None, f"{SHARD}1": ShardState(9, 9, is_done=True), "never there": None})
    del states[f"{SHARD}0"]
    assert reopened().shards() == {**states, f"{SHARD}1": ShardState(9, 9, is_done=True)}
    store = reopened()
    store.keep_links({"/a": "/real", "/a/x.png": "/else/y.png", "/ab/c": "/d"}, ["/a", "/ab"])
    store = reopened()
    assert store.real_path("/a/b/../c.png") == "/real/c.png"
    assert [store.real_path(path) for path in ("/a/x.png", "/ab/c/1", "/z/1")] == ["/else/y.png", "/d/1", "/z/1"]
    store.keep_links({"/a/x.png": "/moved"}, ["/a"])
    assert [store.real_path(path) for path in ("/a/x.png", "/a/1", "/ab/c/1")] == ["/moved", "/a/1", "/d/1"]


def test_codes_are_those_of_the_vectors_and_follow_the_photos(reopened):
    store, photos, vectors = reopened(), photo_files(300), random_unit(300, WIDTH)
    store.add(photos[:250], vectors[:250], {})
    assert "codes of 16 bits" in store.prepare(True)
    store.add(photos[250:], vectors[250:], {})
    store.remove(photos[:10])
    for reopen in (lambda: store, reopened):
        each = reopen()
        ids, similarity = each.search(vectors[[260]], 400, codes=True)
        found = each.photos_of(ids[0].tolist())
        assert {found[id_] for id_ in ids[0].tolist()} == {*photos[10:]}
        assert similarity[0, 0] == 1 and similarity.min() >= -1
        assert (np.diff(similarity[0]) <= 0).all()
        assert set(np.round((1 - similarity[0]) * 8, 5)) <= {*range(17)}
        near = [found[id_].path for id_ in ids[0, similarity[0] == 1].tolist()]
        assert photos[260].path in near


def test_another_thread_sees_the_same_photos(reopened):
    store, vectors = reopened(), random_unit(20, WIDTH)
    other = store.for_another_thread()
    store.add(photo_files(20), vectors, {})
    assert len(other) == 20
    assert other.search(vectors[:1], 3)[0].tolist() == store.search(vectors[:1], 3)[0].tolist()
    assert other.fact("identity") == store.fact("identity")


def test_a_vector_whose_length_is_not_1_is_refused(reopened):
    store = reopened()
    store.add(photo_files(8), random_unit(8, WIDTH), {})
    with pytest.raises(InputError, match="length"):
        store.search(2 * random_unit(1, WIDTH), 1)
