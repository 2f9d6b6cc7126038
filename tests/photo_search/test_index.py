"""Indexes against sorted lists; and files of indexes: what was damaged or swapped is never read by faiss."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from photo_search.index import KINDS, VectorIndex, build, choose_kind, recall, unit
from utils.errors import InputError

faiss = pytest.importorskip("faiss")
WIDTH = 8


def vectors(n: int, seed: int = 0, width: int = WIDTH) -> np.ndarray:
    """Around a few centres, a fifth of them exact repeats."""
    rng = np.random.default_rng(seed)
    made = unit(rng.standard_normal((5, width))[rng.integers(0, 5, n)] + 0.5 * rng.standard_normal((n, width)))
    made[: n // 5] = made[n - n // 5 :]
    return made


def sorted_list(ids: np.ndarray, similarity: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """By sorting all pairs (-similarity, id) of each query; similarity is (q, n)."""
    rows = [sorted(zip((-row).tolist(), ids.tolist(), strict=True))[:k] for row in similarity]
    return np.array([[id_ for _, id_ in row] for row in rows]), np.array([[-value for value, _ in row] for row in rows])


def similarities(index: VectorIndex, queries: np.ndarray, photos: np.ndarray) -> np.ndarray:
    """(q, n) float32: cosines in float64, rounded; for codes, whose bits are not at hand, what a search for all finds."""
    if index.kind == "codes":
        ids, found = index.search(queries, len(photos))
        return np.take_along_axis(found, ids.argsort(axis=1), 1)
    return (queries.astype(float)[:, None] * photos).sum(-1).astype(np.float32)


def assert_found(index: VectorIndex, ids: np.ndarray, photos: np.ndarray, queries: np.ndarray, k: int) -> None:
    expected = sorted_list(ids, similarities(index, queries, photos), k)
    for ours, right in zip(index.search(queries, k), expected, strict=True):
        np.testing.assert_array_equal(ours, right)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 300), k=st.integers(1, 310), asked=st.integers(1, 30), seed=st.integers(0, 99))
def test_search_is_the_sorted_list(kind, n, k, asked, seed):
    """So few vectors that ivf searches all lists."""
    ids = np.sort(np.random.default_rng(seed).permutation(3 * n)[:n])
    photos, queries = vectors(n, seed), np.concatenate([vectors(asked, seed + 1)[1:], vectors(n, seed)[:1]])
    assert_found(build(kind, ids, photos), ids, photos, queries, k)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("asked", [1, 40])
def test_ties_beyond_the_candidates_go_to_the_lower_id(kind, asked):
    """Hundreds of equal photos, more than are looked at beside the k; faiss compares many queries in another way than few."""
    photos = np.repeat(vectors(3), 200, axis=0)[np.random.default_rng(0).permutation(600)]
    index = build(kind, np.arange(600), photos)
    for k in (1, 10, 150, 250):
        assert_found(index, np.arange(600), photos, vectors(asked, 3), k)


class Photos:
    """A database of these vectors under these ids."""

    def __init__(self, ids, vectors):
        self.ids, self.rows = np.asarray(ids), vectors

    def __len__(self):
        return len(self.ids)

    def vectors(self, above, most):
        chosen = np.flatnonzero(self.ids > above)[:most]
        return self.ids[chosen], self.rows[chosen]


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_grows_and_begins_again_where_photos_are_gone(kind, monkeypatch):
    monkeypatch.setattr("photo_search.index.BLOCK", 7)
    photos = vectors(60)
    index = build(kind, np.arange(20), photos[:20])
    index.fill(Photos(range(60), photos))
    assert len(index) == 60 and index.last_id == 59
    assert_found(index, np.arange(60), photos, vectors(4, 7), 9)
    index.fill(Photos(range(100, 130), photos[:30]))
    assert len(index) == 30
    assert_found(index, np.arange(100, 130), photos[:30], vectors(4, 7), 9)


def test_codes_agree_with_hamming_distances_of_projected_signs():
    from retrieval.itq import itq_projection

    photos = vectors(400, width=70)
    index = build("codes", np.arange(400), photos)
    order = np.random.default_rng(50).permutation(400)
    centred = photos.astype(float) - photos[order].astype(float).mean(0)
    bits = centred @ itq_projection(centred[order], 64, 50) > 0
    ids, similarity = index.search(photos[:5], 400)
    for query, (row, found) in enumerate(zip(ids, similarity, strict=True)):
        agreement = 1 - 2 * (bits[row] != bits[query]).sum(1) / 64
        assert (np.abs(agreement - found) > 1e-6).mean() < 0.01  # float32 may turn a bit on the border


def test_recall_is_the_share_that_an_exact_search_finds_too():
    photos = vectors(6000, width=24)
    index = build("ivf", np.arange(6000), photos)
    assert index.recall_at(20, np.arange(6000), photos) > 0.95
    queries = vectors(6050, width=24)[-50:]
    found, expected = (each.search(queries, 20)[0] for each in (index, build("exact", np.arange(6000), photos)))
    share = np.mean([len(set(row) & set(other)) / 20 for row, other in zip(found, expected, strict=True)])
    assert recall(expected, found) == pytest.approx(share)
    assert 0 < build("codes", np.arange(6000), photos).recall_at(20, np.arange(6000), photos) < 0.9


def test_as_many_are_found_as_there_are_though_few_lists_are_searched(monkeypatch):
    monkeypatch.setattr("photo_search.index.LISTS_SEARCHED", 1)
    index = build("ivf", np.arange(500), vectors(500))
    assert sorted(index.search(vectors(1), 500)[0][0]) == list(range(500))
    assert build("ivf", np.arange(6000), vectors(6000, width=24)).recall_at(20, np.arange(6000), vectors(6000, width=24)) < 0.9


def test_the_kind_is_chosen_by_size():
    assert choose_kind(100_000, 64) == "exact"
    assert choose_kind(1_000_000, 64) == choose_kind(50_000, 512) == "ivf"


@pytest.mark.parametrize("value", [np.nan, np.inf, -3e38, 0])
def test_vectors_that_have_not_length_1_are_refused(value):
    """Products of huge numbers are not finite, which faiss answers with an id of -1 or by ending the process."""
    broken = vectors(3)
    broken[1] = value
    index = build("exact", np.arange(3), vectors(3))
    for act in (
        lambda: build("ivf", np.arange(3), broken),
        lambda: index.search(broken, 2),
        lambda: index.add([7, 8, 9], broken),
    ):
        with pytest.raises(InputError, match=r"a vector has length .*, not 1"):
            act()
    assert len(index) == 3


def test_without_faiss_the_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(InputError, match="pip install faiss-cpu"):
        build("exact", np.arange(1), vectors(1))
