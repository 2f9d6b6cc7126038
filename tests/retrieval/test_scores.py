"""From feature arrays to scores: ranking and metrics together, against nested loops and values of the released code."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval import ranking
from retrieval.metrics import METRICS
from retrieval.scores import NEAREST, evaluate_features, evaluate_ranking
from tests.helpers import slow_retrieval as slow
from tests.helpers.nearest import top_k
from utils.errors import InputError


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).with_name("golden_retrieval.npz")) as arrays:
        return {name: arrays[name] for name in arrays.files}


def golden_sets(golden):
    names = ("metric_query", "metric_query_labels", "metric_gallery", "metric_gallery_labels")
    return [torch.from_numpy(golden[name]) for name in names]


def test_released_metrics_of_every_query_and_class(golden):
    scores = evaluate_ranking("euclidean", *golden_sets(golden))
    np.testing.assert_allclose(scores.per_query["ap_interpolated"], golden["metric_ap"], atol=1e-6)
    np.testing.assert_allclose(scores.per_query["p100_within_gallery"], golden["metric_p100"], atol=1e-6)
    summary = scores.summary()
    assert summary["map_all_released"] == pytest.approx(float(golden["metric_map_class_mean"]), abs=1e-6)
    assert summary["p100_released"] == pytest.approx(float(golden["metric_p100_class_mean"]), abs=1e-6)


# ---- against loops ----


@st.composite
def small_retrieval(draw, values):
    """Query and gallery of few distinct values, so that ties and repeated rows are common; labels of four classes."""
    n, m, d = draw(st.integers(1, 6)), draw(st.integers(1, 30)), draw(st.integers(1, 4))
    rows = st.lists(values, min_size=d, max_size=d)
    query = draw(st.lists(rows, min_size=n, max_size=n))
    gallery = draw(st.lists(rows, min_size=m, max_size=m))
    labels = st.integers(0, 3)
    query_labels = draw(st.lists(labels, min_size=n, max_size=n))
    gallery_labels = draw(st.lists(labels, min_size=m, max_size=m))
    return query, query_labels, gallery, gallery_labels


def expected_summary(rows):
    means = {"query": slow.query_mean, "class": slow.class_mean}
    return {key: means[metric.mean](slow.PER_QUERY[metric.per_query], rows) for key, metric in METRICS.items()}


def check_against_loops(kind, dtype, distance_of, query, query_labels, gallery, gallery_labels):
    distances = [[distance_of(q, g) for g in gallery] for q in query]
    tensors = [torch.tensor(query, dtype=dtype), torch.tensor(gallery, dtype=dtype)]
    expected_order = [slow.order(row) for row in distances]
    assert top_k(*tensors, len(gallery), kind).tolist() == expected_order
    rows = slow.rows(distances, query_labels, gallery_labels)
    arguments = (kind, tensors[0], torch.tensor(query_labels), tensors[1], torch.tensor(gallery_labels))
    if not any(any(hits) for _, hits in rows):
        with pytest.raises(InputError, match="no query has a photo"):
            evaluate_ranking(*arguments)
        return
    scores = evaluate_ranking(*arguments)
    assert scores.summary() == pytest.approx(expected_summary(rows), abs=1e-12)
    assert scores.without_positive == sum(not any(hits) for _, hits in rows)
    assert scores.query_labels.tolist() == query_labels
    assert scores.nearest.tolist() == expected_order


@settings(max_examples=80, deadline=None, derandomize=True)
@given(small_retrieval(st.integers(-3, 3)))
def test_euclidean_matches_loops(sets):
    check_against_loops("euclidean", torch.float32, lambda q, g: sum((a - b) ** 2 for a, b in zip(q, g)), *sets)  # noqa: B905


@settings(max_examples=80, deadline=None, derandomize=True)
@given(small_retrieval(st.integers(0, 1)))
def test_hamming_matches_loops(sets):
    check_against_loops("hamming", torch.bool, lambda q, g: sum(a != b for a, b in zip(q, g)), *sets)  # noqa: B905


def random_sets(n=60, m=500, d=8, classes=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = [torch.randint(0, classes, (size,), generator=generator) for size in (n, m)]
    centres = torch.randn(classes, d, generator=generator)
    query, gallery = (centres[label] + torch.randn(len(label), d, generator=generator) for label in labels)
    return query, labels[0], gallery, labels[1]


def test_every_query_of_larger_sets_matches_loops():
    query, query_labels, gallery, gallery_labels = random_sets()
    scores = evaluate_ranking("euclidean", query, query_labels, gallery, gallery_labels)
    distances = torch.cdist(query.double(), gallery.double()).tolist()
    rows = slow.rows(distances, query_labels.tolist(), gallery_labels.tolist())
    for name, values in scores.per_query.items():
        np.testing.assert_allclose(values, [slow.PER_QUERY[name](hits) for _, hits in rows], atol=1e-12)
    assert scores.summary() == pytest.approx(expected_summary(rows), abs=1e-12)
    assert scores.nearest.tolist() == [slow.order(row)[:NEAREST] for row in distances]


def test_classes_of_one_query_and_strangers_between_them():
    """Labels of any size, some in one set only, next to each other in their order."""
    query, _, gallery, _ = random_sets(n=30, m=40)
    query_labels, gallery_labels = torch.arange(30) * 3 - 40, torch.arange(40) * 2 - 38
    scores = evaluate_ranking("euclidean", query, query_labels, gallery, gallery_labels)
    rows = slow.rows(torch.cdist(query.double(), gallery.double()).tolist(), query_labels.tolist(), gallery_labels.tolist())
    assert scores.summary() == pytest.approx(expected_summary(rows), abs=1e-12)
    assert scores.without_positive == sum(not any(hits) for _, hits in rows) > 10


# ---- nothing else changes a metric ----


@pytest.mark.parametrize("kind", ["euclidean", "hamming"])
def test_order_of_queries_changes_nothing(kind):
    query, query_labels, gallery, gallery_labels = random_sets()
    if kind == "hamming":
        query, gallery = query > 0, gallery > 0
    order = torch.randperm(len(query), generator=torch.Generator().manual_seed(3))
    straight = evaluate_ranking(kind, query, query_labels, gallery, gallery_labels)
    shuffled = evaluate_ranking(kind, query[order], query_labels[order], gallery, gallery_labels)
    np.testing.assert_allclose(straight.per_query["ap"][order.numpy()], shuffled.per_query["ap"], rtol=0, atol=1e-14)
    assert (straight.nearest[order.numpy()] == shuffled.nearest).all()
    assert straight.summary() == pytest.approx(shuffled.summary(), abs=1e-12)


@pytest.mark.parametrize(("kind", "ties"), [("euclidean", "stable"), ("hamming", "stable"), ("hamming", "average")])
def test_block_size_and_threads_change_nothing(kind, ties):
    query, query_labels, gallery, gallery_labels = random_sets(n=23)
    if kind == "hamming":
        query, gallery = query > 0, gallery > 0
    whole = evaluate_ranking(kind, query, query_labels, gallery, gallery_labels, ties=ties)
    for rows in (1, 7, 22, 23, 1000):
        parts = evaluate_ranking(kind, query, query_labels, gallery, gallery_labels, block_rows=rows, ties=ties)
        for name, values in whole.per_query.items():
            np.testing.assert_allclose(values, parts.per_query[name], rtol=0, atol=1e-14)
        assert (whole.nearest == parts.nearest).all()
        np.testing.assert_allclose(whole.curve, parts.curve, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("kind", "ties"), [("euclidean", "stable"), ("hamming", "stable"), ("hamming", "average")])
def test_the_way_of_a_gpu_gives_the_same(kind, ties, monkeypatch):
    """PyTorch's operations, as on a GPU, here on the CPU: other kernels, the same ranking and metrics."""
    query, query_labels, gallery, gallery_labels = random_sets(n=23)
    gallery = torch.cat([gallery, gallery[:50], query[:3]])
    gallery_labels = torch.cat([gallery_labels, gallery_labels[:50].flip(0), query_labels[:3]])
    if kind == "hamming":
        query, gallery = query > 0, gallery > 0
    by_numpy = evaluate_ranking(kind, query, query_labels, gallery, gallery_labels, ties=ties)
    monkeypatch.setattr(ranking, "ranks_on_gpu", lambda array: True)
    by_torch = evaluate_ranking(kind, query, query_labels, gallery, gallery_labels, ties=ties)
    assert (by_numpy.nearest == by_torch.nearest).all()
    for name, values in by_numpy.per_query.items():
        np.testing.assert_allclose(values, by_torch.per_query[name], rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_arrays_and_tensors_give_the_same(dtype):
    query, query_labels, gallery, gallery_labels = random_sets(n=23)
    query, gallery = query.bfloat16(), gallery.bfloat16()
    arrays = [array.float().numpy() for array in (query, gallery)]
    found = evaluate_features(query.to(dtype), query_labels, gallery.to(dtype), gallery_labels, 6)
    expected = evaluate_features(arrays[0], query_labels.numpy(), arrays[1], gallery_labels.numpy(), 6)
    assert {name: scores.summary() for name, scores in found.items()} == {
        name: scores.summary() for name, scores in expected.items()
    }


def test_progress_bar_shows_the_rate(capsys):
    arguments = random_sets(n=4, m=20)
    evaluate_ranking("euclidean", *arguments)
    assert capsys.readouterr().err == ""
    evaluate_ranking("euclidean", *arguments, progress=True)
    assert "queries/s" in capsys.readouterr().err


# ---- bad input ----


def one_bad(position, value):
    arguments = list(random_sets(n=4, m=20))
    arguments[position] = value(arguments[position])
    return arguments


def with_nan(array):
    array[2, 1] = float("nan")
    return array


BAD = {
    "dims": (one_bad(0, lambda query: query[:, :5]), "query rows have 5 numbers, gallery rows 8"),
    "no gallery": (one_bad(2, lambda gallery: gallery[:0]), r"gallery has shape \(0, 8\)"),
    "no query": (one_bad(0, lambda query: query[:0]), r"query has shape \(0, 8\)"),
    "flat": (one_bad(0, lambda query: query[0]), "query has shape"),
    "query nan": (one_bad(0, with_nan), "query row 2 holds NaN"),
    "gallery nan": (one_bad(2, with_nan), "gallery row 2 holds NaN"),
    "query labels": (one_bad(1, lambda labels: labels[:3]), r"query labels are torch.int64 of shape \(3,\) for 4 rows"),
    "gallery labels": (one_bad(3, lambda labels: labels[:3]), r"gallery labels are torch.int64 of shape \(3,\) for 20 rows"),
    "float labels": (one_bad(3, lambda labels: labels.float()), "give one integer class id per row"),
    "strangers": (one_bad(1, lambda labels: labels + 50), "no query has a photo of its class"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    arguments, message = BAD[case]
    with pytest.raises(InputError, match=message) as caught:
        evaluate_ranking("euclidean", *arguments)
    assert "\n" not in str(caught.value)


def test_hamming_refuses_what_is_not_a_code():
    query, query_labels, gallery, gallery_labels = random_sets(n=4, m=20)
    for codes in (query, (query > 0).long(), (query > 0).byte() * 2):
        with pytest.raises(InputError, match="codes must be bool"):
            evaluate_ranking("hamming", codes, query_labels, gallery > 0, gallery_labels)
    with pytest.raises(InputError, match="unknown"):
        evaluate_ranking("cosine", query, query_labels, gallery, gallery_labels)


def test_ties_are_averaged_for_hamming_only():
    with pytest.raises(InputError, match="use 'stable', or 'average' with 'hamming'"):
        evaluate_ranking("euclidean", *random_sets(n=4, m=20), ties="average")
