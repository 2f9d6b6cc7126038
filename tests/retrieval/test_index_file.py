"""Files of indexes: they come back as they were, and whatever was damaged is refused in one line."""

import hashlib
import json
import os

import numpy as np
import pytest

from retrieval import index_file
from retrieval.vector_index import KINDS, build, load
from tests.retrieval.test_vector_index import vectors
from utils.errors import InputError

pytest.importorskip("faiss")


def changed_index(kind, n=120):
    """Built, and then changed, so that lists are uneven and a graph has dead nodes."""
    index = build(kind, np.arange(n) * 3, vectors(n))
    index.remove(np.arange(0, n // 2, 3))
    index.add(np.array([1, 1000]), vectors(2, 4))
    index.notes = {"photos": ["a.jpg", "ü.jpg"], "size": 224}
    return index


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_loaded_is_what_was_saved(kind, tmp_path):
    index = changed_index(kind)
    index.save(tmp_path / "photos.index")
    loaded = load(tmp_path / "photos.index")
    assert loaded.kind == kind and loaded.notes == index.notes and loaded.nbytes == index.nbytes
    for step in range(2):
        for ours, theirs in zip(index.search(vectors(9, 5), 12), loaded.search(vectors(9, 5), 12), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        if step == 0:  # and it can be changed as before
            for each in (index, loaded):
                each.update(np.array([1]), vectors(1, 8))
                each.remove(np.array([1000, 99]))
                each.add(np.array([2000, 7]), vectors(2, 6))
    loaded.save(tmp_path / "again.index")
    assert sorted(os.listdir(tmp_path)) == ["again.index", "photos.index"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_emptied_index_can_be_saved(kind, tmp_path):
    index = build(kind, np.arange(9), vectors(9))
    index.remove(np.arange(9))
    index.save(tmp_path / "empty")
    loaded = load(tmp_path / "empty")
    assert len(loaded) == 0
    loaded.add(np.array([4]), vectors(1))
    assert loaded.search(vectors(1), 1)[0].tolist() == [[4]]


def test_a_loaded_graph_is_walked_and_not_compared_with_all(tmp_path, monkeypatch):
    index = changed_index("hnsw", 3000)
    index.save(tmp_path / "graph")
    loaded = load(tmp_path / "graph")
    monkeypatch.setattr(loaded, "_search_exactly", None)
    np.testing.assert_array_equal(index.search(vectors(9, 5), 12)[0], loaded.search(vectors(9, 5), 12)[0])


def refusal(path):
    with pytest.raises(InputError) as caught:
        load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_refused(kind, tmp_path):
    path = tmp_path / "photos.index"
    changed_index(kind).save(path)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    assert load(path).kind == kind
    for length in [0, 1, 7, 8, 15, 16, 47, 48, len(whole) - 1, *rng.integers(48, len(whole), 30)]:
        path.write_bytes(whole[:length])
        assert "not an index" in refusal(path) if length < 8 else "damaged" in refusal(path)
    for at in [*range(100), *rng.integers(100, len(whole), 60)]:
        flipped = bytearray(whole)
        flipped[at] ^= 1 << rng.integers(8)
        path.write_bytes(flipped)
        assert any(word in refusal(path) for word in (["not an index"] if at < 8 else ["damaged", "version"]))
    path.write_bytes(whole + b"\0" * 64)
    assert "damaged" in refusal(path)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text").write_text("photos " * 100)
    assert "not an index" in refusal(tmp_path / "text")
    assert "no such index file" in refusal(tmp_path / "absent")
    assert "no such index file" in refusal(tmp_path)


def rewritten(path, change):
    """The file with header and arrays changed and the checksum made right again: what a hostile writer would do."""
    header, arrays = index_file.read(path)
    arrays = {name: array.copy() for name, array in arrays.items()}
    change(header, arrays)
    header.pop("arrays")
    index_file.write(path, header, arrays)


def out_of_range(name, value):
    def change(header, arrays):
        arrays[name].reshape(-1)[1] = value

    return change


def without(name):
    return lambda header, arrays: arrays.pop(name)


def with_header(name, value):
    return lambda header, arrays: header.update({name: value})


def cut(name):
    return lambda header, arrays: arrays.update({name: arrays[name][:-1]})


def of_type(name, dtype):
    return lambda header, arrays: arrays.update({name: arrays[name].astype(dtype)})


HOSTILE = [
    *((kind, with_header("kind", "other")) for kind in KINDS),
    *((kind, with_header("width", 9)) for kind in KINDS),
    *((kind, with_header("fitted_on", "many")) for kind in KINDS),
    *(("exact", change) for change in (out_of_range("ids", 10**9), out_of_range("ids", 0), cut("ids"), without("vectors"))),
    *(("exact", change) for change in (of_type("vectors", np.float64), of_type("ids", np.int32))),
    *(("codes", change) for change in (out_of_range("ids", 0), cut("codes"), cut("mean"), without("projection"))),
    *(("codes", change) for change in (of_type("codes", np.int32), of_type("mean", np.float32), cut("projection"))),
    *(("ivf", change) for change in (out_of_range("sizes", -5), out_of_range("sizes", 2**60), cut("sizes"), cut("vectors"))),
    *(("ivf", change) for change in (out_of_range("ids", -5), with_header("nprobe", 10**6), with_header("nprobe", "1"))),
    *(("ivf", change) for change in (cut("centroids"), of_type("ids", np.int32))),
    *(("hnsw", change) for change in (out_of_range("neighbours", 10**6), out_of_range("neighbours", -2))),
    *(("hnsw", change) for change in (out_of_range("levels", 9), out_of_range("levels", 0), cut("neighbours"), cut("levels"))),
    *(("hnsw", change) for change in (out_of_range("id_at", 300), out_of_range("id_at", -7), with_header("entry", 10**6))),
    *(("hnsw", change) for change in (with_header("entry", None), with_header("top", 7), with_header("effort", 10**9))),
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_values_that_would_lead_out_of_the_arrays_are_refused(number, tmp_path):
    """The checksum is right here: what an index takes from a file is looked at, too."""
    kind, change = HOSTILE[number]
    path = tmp_path / "photos.index"
    changed_index(kind).save(path)
    rewritten(path, change)
    assert "damaged" in refusal(path)


def test_links_to_nodes_that_are_not_on_a_level_are_refused(tmp_path):
    index = build("hnsw", np.arange(3000), vectors(3000))
    index.save(tmp_path / "graph")
    load(tmp_path / "graph")

    def change(header, arrays):
        levels = arrays["levels"]
        starts = np.concatenate([[0], np.cumsum(32 * (levels.astype(int) + 1))])
        arrays["neighbours"][starts[levels.argmax()] + 64] = levels.argmin()

    rewritten(tmp_path / "graph", change)
    assert "damaged" in refusal(tmp_path / "graph")


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        *(
            json.dumps({"kind": "exact", "arrays": [["ids", dtype, shape]]}).encode()
            for dtype, shape in [("<i8", [2**47, 2**47]), ("<i8", [-1]), ("|O", [1]), ("<i8", [1e3]), ("<i8", 5), (["<i8"], [1])]
        ),
    ],
)
def test_headers_that_describe_nonsense_are_refused(header, tmp_path):
    header += b" " * (-(48 + len(header)) % 64)
    prefix = index_file._PREFIX.pack(index_file.MAGIC, index_file.VERSION, len(header))
    digest = hashlib.blake2b(prefix + header, digest_size=32).digest()
    (tmp_path / "photos.index").write_bytes(prefix + digest + header)
    assert "damaged" in refusal(tmp_path / "photos.index")


def test_an_index_of_another_version_says_so(tmp_path):
    build("exact", [0], vectors(1)).save(tmp_path / "photos.index")
    content = bytearray((tmp_path / "photos.index").read_bytes())
    content[8] = 9
    (tmp_path / "photos.index").write_bytes(content)
    assert "version 9" in refusal(tmp_path / "photos.index")


def test_what_cannot_be_written_leaves_the_old_file(tmp_path):
    index = changed_index("exact")
    index.save(tmp_path / "photos.index")
    index.notes = {"photos": {1, 2}}  # no JSON
    with pytest.raises(TypeError):
        index.save(tmp_path / "photos.index")
    assert load(tmp_path / "photos.index").notes["size"] == 224
    assert os.listdir(tmp_path) == ["photos.index"]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        changed_index("exact").save(tmp_path / "file" / "photos.index")
