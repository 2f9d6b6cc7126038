"""Indexes against sorted lists: searching, changing in any order, recall, what is refused."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.exact_index import ExactIndex
from retrieval.index_rows import SortedRows
from retrieval.vector_index import KINDS, build, choose_kind, load, recall, rerank, unit
from utils.errors import InputError

faiss = pytest.importorskip("faiss")
WIDTH = 8


def vectors(n: int, seed: int = 0, width: int = WIDTH) -> np.ndarray:
    """Around a few centres, a fifth of them exact repeats."""
    rng = np.random.default_rng(seed)
    made = unit(rng.standard_normal((5, width))[rng.integers(0, 5, n)] + 0.5 * rng.standard_normal((n, width)))
    made[: n // 5] = made[n - n // 5 :]
    return made


def slow_search(ids, similarity, k):
    """ids (q, k), similarity (q, k) by sorting all pairs (-similarity, id) of each query; similarity is (q, n)."""
    found = np.full((len(similarity), k), -1), np.full((len(similarity), k), -np.inf, np.float32)
    for query, row in enumerate(similarity):
        for place, (negative, number) in enumerate(sorted(zip((-row).tolist(), ids.tolist(), strict=True))[:k]):
            found[0][query, place], found[1][query, place] = number, -negative
    return found


def cosines(queries, photos):
    return np.array([[(q.astype(float) * p).sum() for p in photos] for q in queries]).astype(np.float32).reshape(len(queries), -1)


def agreements(index, queries, photos):
    """(q, n): 1 - 2 · differing bits / bits, of codes counted one by one."""
    codes = [(array - index.coder.mean) @ index.coder.projection > 0 for array in (queries, photos)]
    return (1 - 2 * (codes[0][:, None] != codes[1]).sum(-1).reshape(len(queries), -1) / index.bits).astype(np.float32)


def search_all(index, queries, k):
    """What `search` gives when it is asked to miss nothing."""
    if index.kind == "ivf":
        index.nprobe = index.lists
    elif index.kind == "hnsw":
        index.effort = 4 * len(index)
    return index.search(queries, k)


def assert_found(index, ids, photos, queries, k):
    similarity = agreements(index, queries, photos) if index.kind == "codes" else cosines(queries, photos)
    wanted = slow_search(np.asarray(ids), similarity, k)
    for ours, right in zip(search_all(index, queries, k), wanted, strict=True):
        np.testing.assert_array_equal(ours, right)


@pytest.mark.parametrize("bits", [8, 5])
@pytest.mark.parametrize("n, k, asked", [(1, 1, 1), (3, 5, 2), (60, 7, 3), (300, 40, 25), (300, 300, 1), (300, 310, 30)])
@pytest.mark.parametrize("kind", KINDS)
def test_search_is_the_sorted_list(kind, n, k, asked, bits):
    ids = np.random.default_rng(1).permutation(3 * n)[:n]
    photos, queries = vectors(n), np.concatenate([vectors(asked, 2)[1:], vectors(n)[:1]])
    index = build(kind, ids, photos, bits=bits)
    assert len(index) == n and index.ids.tolist() == sorted(ids)
    assert_found(index, ids, photos, queries, k)


@pytest.mark.parametrize("kind", ["exact", "codes"])
@pytest.mark.parametrize("asked", [1, 40])
def test_ties_beyond_the_candidates_go_to_the_lower_id(kind, asked):
    """Hundreds of equal photos, more than are looked at beside the k; faiss has another way for many queries than for few."""
    photos = np.repeat(vectors(3), 200, axis=0)
    ids = np.random.default_rng(0).permutation(len(photos))
    index = build(kind, ids, photos)
    for k in (1, 10, 150, 250):
        assert_found(index, ids, photos, vectors(asked, 3), k)


@pytest.mark.parametrize("width, bits", [(70, 63), (70, 64), (70, 70), (16, 12), (24, 20), (130, 130)])
def test_codes_of_any_length(width, bits):
    photos = vectors(400, width=width)
    assert_found(build("codes", np.arange(400), photos, bits=bits), range(400), photos, vectors(9, 3, width), 30)


CHANGES = st.lists(st.tuples(st.sampled_from(["add", "remove", "update"]), st.integers(0, 99), st.integers(1, 12)), max_size=12)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(changes=CHANGES)
def test_changes_in_any_order_come_to_what_a_dictionary_holds(kind, changes):
    first = vectors(20)
    index, held = build(kind, np.arange(0, 40, 2), first), dict(zip(range(0, 40, 2), first, strict=True))
    for change, seed, count in changes:
        rng = np.random.default_rng(seed)
        possible = [number for number in range(60) if (number in held) != (change == "add")]
        ids = rng.permutation(possible)[:count].astype(np.int64)
        if change == "remove":
            index.remove(ids)
            for number in ids.tolist():
                del held[number]
        else:
            getattr(index, change)(ids, fresh := vectors(len(ids), seed + 1))
            held.update(zip(ids.tolist(), fresh, strict=True))
    assert index.ids.tolist() == sorted(held)
    photos = np.array([held[number] for number in sorted(held)]).reshape(-1, WIDTH)
    assert_found(index, sorted(held), photos, vectors(4, 7), 6)


@pytest.mark.parametrize("kind", ["exact", "codes"])
def test_a_changed_index_is_saved_as_a_rebuilt_one(kind, tmp_path):
    """The content alone decides what is in the file."""
    photos = vectors(50)
    whole = build(kind, np.arange(50), photos)
    whole.save(tmp_path / "whole")
    order = np.random.default_rng(0).permutation(50)
    whole.remove(order)
    for part in np.array_split(order, 7):
        whole.add(part, vectors(50, 9)[part])
    whole.update(order[:50], photos[order[:50]])
    whole.save(tmp_path / "changed")
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "changed").read_bytes()


def test_rows_appended_by_and_by_take_memory_in_steps():
    rows, moved = SortedRows(2, np.float32), 0
    for number in range(2000):
        before = rows._rows
        rows.add(np.array([number]), np.full((1, 2), number, np.float32))
        moved += rows._rows is not before
    assert moved < 60
    assert (rows.rows[:, 0] == rows.ids).all() and len(rows.ids) == 2000


def test_removed_vectors_of_a_graph_are_dropped_once_they_are_many():
    index = build("hnsw", np.arange(100), vectors(100))
    index.remove(np.arange(20))
    assert index.dead == 20
    index.remove(np.arange(20, 30))
    assert index.dead == 0 and len(index) == 70
    assert_found(index, range(30, 100), vectors(100)[30:], vectors(3, 5), 9)


def test_dead_neighbours_do_not_take_the_places_of_living_ones(monkeypatch):
    """The hundred nearest are dead; the walk goes on to the living, without comparing with all."""
    photos, queries = vectors(2000), vectors(2, 5)
    index = build("hnsw", np.arange(2000), photos)
    index.remove(np.unique(index.search(queries, 100)[0]))
    assert index.dead >= 100
    index.effort = 500
    wanted = index._search_exactly(queries, 10)[0]
    monkeypatch.setattr(index, "_search_exactly", None)
    assert recall(wanted, index.search(queries, 10)[0]) > 0.9


def test_a_walk_that_ends_too_early_is_made_up_for(monkeypatch):
    index, photos = build("hnsw", np.arange(50), vectors(50)), vectors(50)
    walk = index._found_with

    def cut_short(effort, queries, k):
        ids, similarity = walk(effort, queries, k)
        ids[1, 2:], similarity[1, 2:] = -1, -np.inf
        return ids, similarity

    monkeypatch.setattr(index, "_found_with", cut_short)
    assert_found(index, range(50), photos, vectors(3, 5), 6)


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_recall_on_clustered_vectors(kind):
    photos = vectors(6000, width=24)
    index = build(kind, np.arange(6000), photos)
    assert index.recall_at(20) > 0.95
    queries = unit(vectors(6050, width=24)[-50:])
    exact = build("exact", np.arange(6000), photos)
    pairs = zip(index.search(queries, 20)[0], exact.search(queries, 20)[0], strict=True)
    share = np.mean([len(set(found) & set(wanted)) / 20 for found, wanted in pairs])
    assert index.recall_at(20, queries) == pytest.approx(share)
    assert index.recall_at(20, queries, exact) == pytest.approx(share)


@pytest.mark.parametrize("kind", ["exact", "ivf", "hnsw"])
def test_queries_are_made_of_each_vector_once(kind):
    photos = vectors(200)
    sampled = build(kind, np.arange(200), photos)._sampled(500, np.random.default_rng(0))
    assert sorted(sampled.tolist()) == sorted(photos.tolist())
    assert len(build(kind, np.arange(200), photos)._sampled(7, np.random.default_rng(0))) == 7


def test_fewer_lists_find_less():
    index = build("ivf", np.arange(6000), vectors(6000, width=24))
    assert 1 < index.nprobe < index.lists
    index.nprobe = 1
    assert index.recall_at(20) < 0.9


def test_as_many_are_found_as_there_are_whatever_the_lists_hold():
    index = build("ivf", np.arange(500), vectors(500))
    index.nprobe = 1
    assert sorted(index.search(vectors(1), 500)[0][0]) == list(range(500))


def test_recall_of_codes_needs_an_exact_index_and_reranking_raises_it():
    photos = vectors(3000, width=32)
    exact, codes = (build(kind, np.arange(3000), photos, bits=32) for kind in ("exact", "codes"))
    with pytest.raises(InputError, match="give an exact index"):
        codes.recall_at(10)
    plain = codes.recall_at(10, exact=exact)
    queries = vectors(3050, width=32)[-50:]
    wanted = exact.search(queries, 10)[0]
    found, similarity = rerank(queries, codes.search(queries, 200)[0], 10, exact.vectors_of)
    assert 0 < plain < 1 and recall(wanted, found) > max(plain, recall(wanted, codes.search(queries, 10)[0])) + 0.1
    np.testing.assert_array_equal(similarity, np.take_along_axis(cosines(queries, photos), found, 1))
    everything = rerank(queries, codes.search(queries, 3000)[0], 10, exact.vectors_of)
    np.testing.assert_array_equal(everything[0], wanted)


def test_reranking_leaves_out_what_is_not_there():
    exact = build("exact", np.array([4, 9]), vectors(2))
    ids, similarity = rerank(vectors(2, 3), np.array([[-1, 9, 4], [-1, 9, -1]]), 4, exact.vectors_of)
    assert ids[1].tolist() == [9, -1, -1, -1] and ids[0, 2:].tolist() == [-1, -1]
    assert np.isneginf(similarity[1, 1:]).all() and np.isfinite(similarity[:, 0]).all()


def test_the_kind_is_chosen_by_size():
    assert choose_kind(1) == choose_kind(100_000) == "exact"
    assert choose_kind(1_000_000) == choose_kind(50_000, 512) == "ivf"
    assert isinstance(build("auto", np.arange(9), vectors(9)), ExactIndex)


def test_lists_are_outgrown_by_many_more_vectors():
    index = build("ivf", np.arange(10), vectors(10))
    index.add(np.arange(10, 40), vectors(30, 1))
    assert not index.outgrown
    index.add(np.arange(40, 41), vectors(1, 2))
    assert index.outgrown
    assert not build("exact", np.arange(10), vectors(10)).outgrown


def unlike(value, at=(1, 2)):
    changed = vectors(3)
    changed[at] = value
    return changed


REFUSED = {
    "NaN": (lambda index: index.add([7, 8, 9], unlike(np.nan)), "vector 1 holds NaN or infinity"),
    "infinity": (lambda index: index.search(unlike(np.inf), 2), "query 1 holds NaN or infinity"),
    "length": (lambda index: index.update([0, 1, 2], unlike(3.0)), "vector 1 has length 3"),
    "zero": (lambda index: index.search(np.zeros((1, WIDTH)), 2), "query 0 has length 0"),
    "width": (lambda index: index.search(vectors(2, width=9), 2), r"\(2, 9\); this index takes \(m, 8\)"),
    "one vector": (lambda index: index.search(vectors(2)[0], 2), r"\(8,\); this index takes"),
    "twice": (lambda index: index.add([7, 8, 7], vectors(3)), "id 7 is given twice"),
    "there": (lambda index: index.add([17, 2, 18], vectors(3)), "id 2 is in the index already"),
    "negative": (lambda index: index.add([7, -2, 8], vectors(3)), "id -2 is negative"),
    "absent": (lambda index: index.remove([2, 77]), "id 77 is not in the index"),
    "absent update": (lambda index: index.update([1, 2, 77], vectors(3)), "id 77 is not in the index"),
    "not numbers": (lambda index: index.remove(["a"]), "ids must be whole numbers"),
    "fractions": (lambda index: index.remove([1.0]), "ids must be whole numbers"),
    "number of ids": (lambda index: index.add([7, 8], vectors(3)), "2 ids for 3 vectors"),
    "k": (lambda index: index.search(vectors(1), 0), "ask for at least 1"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_unusable_is_named_and_changes_nothing(kind, case):
    index = build(kind, np.arange(10), vectors(10))
    act, message = REFUSED[case]
    with pytest.raises(InputError, match=message) as caught:
        act(index)
    assert "\n" not in str(caught.value)
    assert_found(index, range(10), vectors(10), vectors(2, 1), 4)


@pytest.mark.parametrize(
    "kind, ids, photos, bits, message",
    [
        ("exact", [], vectors(0), 8, "built of at least one"),
        ("trees", [0], vectors(1), 8, "index kind 'trees' is unknown"),
        ("codes", [0], vectors(1), 9, "9 bits asked of 8 numbers"),
        ("codes", [0], vectors(1), 0, "0 bits asked"),
        ("exact", [0, 0], vectors(2), 8, "given twice"),
    ],
)
def test_what_cannot_be_built_is_named(kind, ids, photos, bits, message):
    with pytest.raises(InputError, match=message):
        build(kind, ids, photos, bits=bits)


def test_without_faiss_the_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "faiss", None)
    for act in (lambda: build("exact", [0], vectors(1)), lambda: load(tmp_path / "any")):
        with pytest.raises(InputError, match="pip install faiss-cpu"):
            act()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_found_in_what_was_emptied_and_it_can_be_filled_again(kind):
    index = build(kind, np.arange(10), vectors(10))
    index.remove(np.arange(10))
    ids, similarity = index.search(vectors(2, 1), 3)
    assert (ids == -1).all() and np.isneginf(similarity).all() and ids.shape == (2, 3)
    index.add(np.array([5, 3]), vectors(2))
    assert_found(index, [5, 3], vectors(2), vectors(2, 1), 3)
