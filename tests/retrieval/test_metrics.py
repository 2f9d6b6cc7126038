"""Figures against values of the released code, and against slow, obviously right loops."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.metrics import average_precision, average_precision_released, evaluate_ranking, precision_at_k
from retrieval.ranking import top_k
from utils.errors import InputError

SUMMARY_KEYS = {"map_all_released", "p100_released", "map_all", "map_200", "p100", "p200"}


# ---- slow versions: nested loops over one list of booleans in rank order ----


def slow_released(hits, k=None):
    """The released protocol's steps: curve with end points, precision made non-increasing, area over recall."""
    positives = sum(hits)
    shown = hits if k is None else hits[:k]
    divisor = positives if k is None else min(k, positives)
    if positives == 0:
        return 0.0
    recall, precision, found = [0.0], [0.0], 0
    for rank, hit in enumerate(shown, start=1):
        found += hit
        recall.append(found / divisor)
        precision.append(found / rank)
    recall.append(1.0)
    precision.append(0.0)
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    return sum((recall[i] - recall[i - 1]) * precision[i] for i in range(1, len(recall)))


def slow_plain(hits, k=None):
    positives = sum(hits)
    divisor = positives if k is None else min(k, positives)
    total = 0.0
    for rank in range(1, len(hits if k is None else hits[:k]) + 1):
        if hits[rank - 1]:
            total += sum(hits[:rank]) / rank
    return total / divisor if positives else 0.0


def slow_order(distances):
    """Indices by distance, then by index."""
    return sorted(range(len(distances)), key=lambda index: (distances[index], index))


def slow_summary(rows):
    """rows: (label, hits in rank order); queries without positives are skipped, classes averaged one by one."""
    rows = [(label, hits) for label, hits in rows if any(hits)]
    classes = sorted({label for label, _ in rows})

    def class_mean(figure):
        means = []
        for wanted in classes:
            values = [figure(hits) for label, hits in rows if label == wanted]
            means.append(sum(values) / len(values))
        return sum(means) / len(means)

    def query_mean(figure):
        return sum(figure(hits) for _, hits in rows) / len(rows)

    return {
        "map_all_released": class_mean(slow_released),
        "p100_released": class_mean(lambda hits: sum(hits[:100]) / 100),
        "map_all": query_mean(slow_plain),
        "map_200": query_mean(lambda hits: slow_plain(hits, 200)),
        "p100": query_mean(lambda hits: sum(hits[:100]) / 100),
        "p200": query_mean(lambda hits: sum(hits[:200]) / 200),
    }


def slow_rows(distances, query_labels, gallery_labels):
    """distances: nested lists. -> the rows slow_summary takes."""
    return [
        (label, [gallery_labels[index] == label for index in slow_order(row)])
        for row, label in zip(distances, query_labels, strict=True)
    ]


# ---- values of the released code ----


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).with_name("golden_retrieval.npz")) as arrays:
        return {name: arrays[name] for name in arrays.files}


def golden_sets(golden):
    names = ("metric_query", "metric_query_labels", "metric_gallery", "metric_gallery_labels")
    return [torch.from_numpy(golden[name]) for name in names]


def test_released_figures_of_every_query_and_class(golden):
    scores = evaluate_ranking("euclidean", *golden_sets(golden))
    np.testing.assert_allclose(scores.ap_released, golden["metric_ap"], atol=1e-6)
    np.testing.assert_allclose(scores.p_100, golden["metric_p100"], atol=1e-6)
    summary = scores.summary()
    assert summary["map_all_released"] == pytest.approx(float(golden["metric_map_class_mean"]), abs=1e-6)
    assert summary["p100_released"] == pytest.approx(float(golden["metric_p100_class_mean"]), abs=1e-6)


def test_released_ap_cut_at_200(golden):
    query, query_labels, gallery, gallery_labels = golden_sets(golden)
    relevance = gallery_labels[top_k(query, gallery, len(gallery))] == query_labels[:, None]
    released = average_precision_released(relevance, k=200)
    np.testing.assert_allclose(released.numpy(), golden["metric_ap_top200"], atol=1e-6)


# ---- definitions against the loops ----


def relevance_rows(max_columns=40):
    columns = st.integers(1, max_columns)
    return columns.flatmap(lambda m: st.lists(st.lists(st.booleans(), min_size=m, max_size=m), min_size=1, max_size=6))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(relevance_rows(), st.integers(1, 50))
def test_definitions_match_loops(rows, k):
    relevance = torch.tensor(rows)
    for fast, slow in ((average_precision_released, slow_released), (average_precision, slow_plain)):
        np.testing.assert_allclose(fast(relevance).numpy(), [slow(row) for row in rows], atol=1e-12)
        np.testing.assert_allclose(fast(relevance, k=k).numpy(), [slow(row, k) for row in rows], atol=1e-12)
    np.testing.assert_allclose(precision_at_k(relevance, k).numpy(), [sum(row[:k]) / k for row in rows], atol=1e-12)


def test_one_ranking_by_hand():
    """Hits at ranks 2, 3 and 6 of 6: precisions 1/2, 2/3, 1/2; interpolated 2/3, 2/3, 1/2."""
    relevance = torch.tensor([[False, True, True, False, False, True]])
    assert average_precision(relevance).item() == pytest.approx((1 / 2 + 2 / 3 + 1 / 2) / 3)
    assert average_precision_released(relevance).item() == pytest.approx((2 / 3 + 2 / 3 + 1 / 2) / 3)
    assert average_precision(relevance, k=2).item() == pytest.approx(1 / 2 / 2)  # one hit of min(2, 3)
    assert average_precision_released(relevance, k=3).item() == pytest.approx((2 / 3 + 2 / 3) / 3)
    assert precision_at_k(relevance, 4).item() == 0.5
    assert precision_at_k(relevance, 100).item() == 0.03


def test_perfect_and_worst_rankings():
    best = torch.tensor([[True] * 5 + [False] * 15])
    for figure in (average_precision, average_precision_released):
        assert figure(best).item() == 1
        assert figure(best, k=3).item() == 1
        assert figure(best.flip(1), k=15).item() == 0
        assert figure(torch.zeros(1, 20, dtype=torch.bool)).item() == 0


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


def check_against_loops(kind, dtype, distance_of, query, query_labels, gallery, gallery_labels):
    distances = [[distance_of(q, g) for g in gallery] for q in query]
    tensors = [torch.tensor(query, dtype=dtype), torch.tensor(gallery, dtype=dtype)]
    expected_order = [slow_order(row) for row in distances]
    assert top_k(*tensors, len(gallery), kind).tolist() == expected_order
    rows = slow_rows(distances, query_labels, gallery_labels)
    arguments = (kind, tensors[0], torch.tensor(query_labels), tensors[1], torch.tensor(gallery_labels))
    if not any(any(hits) for _, hits in rows):
        with pytest.raises(InputError, match="no query has a photo"):
            evaluate_ranking(*arguments)
        return
    scores = evaluate_ranking(*arguments)
    assert scores.summary() == pytest.approx(slow_summary(rows), abs=1e-12)
    assert scores.without_positive == sum(not any(hits) for _, hits in rows)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(small_retrieval(st.integers(-3, 3)))
def test_euclidean_matches_loops(sets):
    check_against_loops("euclidean", torch.float32, lambda q, g: sum((a - b) ** 2 for a, b in zip(q, g)), *sets)  # noqa: B905


@settings(max_examples=80, deadline=None, derandomize=True)
@given(small_retrieval(st.integers(0, 1)))
def test_hamming_matches_loops(sets):
    check_against_loops("hamming", torch.bool, lambda q, g: sum(a != b for a, b in zip(q, g)), *sets)  # noqa: B905


# ---- averages, gaps and names ----


def random_sets(n=60, m=500, d=8, classes=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = [torch.randint(0, classes, (size,), generator=generator) for size in (n, m)]
    centres = torch.randn(classes, d, generator=generator)
    query, gallery = (centres[label] + torch.randn(len(label), d, generator=generator) for label in labels)
    return query, labels[0], gallery, labels[1]


def test_real_sized_summary_matches_loops():
    query, query_labels, gallery, gallery_labels = random_sets()
    scores = evaluate_ranking("euclidean", query, query_labels, gallery, gallery_labels)
    distances = torch.cdist(query.double(), gallery.double()).tolist()
    expected = slow_summary(slow_rows(distances, query_labels.tolist(), gallery_labels.tolist()))
    assert scores.summary() == pytest.approx(expected, abs=1e-12)
    assert set(scores.summary()) == SUMMARY_KEYS
    assert len(set(expected.values())) > 4  # else two figures could be swapped unseen


def test_queries_without_positive_are_left_out_and_counted():
    query, query_labels, gallery, gallery_labels = random_sets()
    before = evaluate_ranking("euclidean", query, query_labels, gallery, gallery_labels)
    strangers = torch.full((7,), 99)
    scores = evaluate_ranking(
        "euclidean",
        torch.cat([query, torch.randn(7, query.shape[1])]),
        torch.cat([query_labels, strangers]),
        gallery,
        gallery_labels,
    )
    assert scores.without_positive == 7 and before.without_positive == 0
    assert scores.summary() == before.summary()
    assert scores.has_positive.tolist() == [True] * 60 + [False] * 7


def test_per_class_names_and_values():
    query, query_labels, gallery, gallery_labels = random_sets()
    scores = evaluate_ranking("euclidean", query, query_labels, gallery, gallery_labels)
    names = ["ape", "bell", "cat", "door", "eye"]
    by_class = scores.per_class(names)
    assert list(by_class) == names
    for label, name in enumerate(names):
        assert by_class[name]["map_all_released"] == pytest.approx(scores.ap_released[query_labels == label].mean())
        assert by_class[name]["p100_released"] == pytest.approx(scores.p_100[query_labels == label].mean())
    mean = np.mean([row["map_all_released"] for row in by_class.values()])
    assert mean == pytest.approx(scores.summary()["map_all_released"])


@pytest.mark.parametrize("kind", ["euclidean", "hamming"])
def test_order_of_queries_changes_nothing(kind):
    query, query_labels, gallery, gallery_labels = random_sets()
    if kind == "hamming":
        query, gallery = query > 0, gallery > 0
    order = torch.randperm(len(query), generator=torch.Generator().manual_seed(3))
    straight = evaluate_ranking(kind, query, query_labels, gallery, gallery_labels)
    shuffled = evaluate_ranking(kind, query[order], query_labels[order], gallery, gallery_labels)
    np.testing.assert_allclose(straight.ap[order.numpy()], shuffled.ap, rtol=0, atol=1e-14)
    assert straight.summary() == pytest.approx(shuffled.summary(), abs=1e-12)


@pytest.mark.parametrize("kind", ["euclidean", "hamming"])
def test_chunk_size_changes_nothing(kind):
    query, query_labels, gallery, gallery_labels = random_sets(n=23)
    if kind == "hamming":
        query, gallery = query > 0, gallery > 0
    whole = evaluate_ranking(kind, query, query_labels, gallery, gallery_labels)
    for rows in (1, 7, 22, 23, 1000):
        parts = evaluate_ranking(kind, query, query_labels, gallery, gallery_labels, chunk_rows=rows)
        for figure in ("ap_released", "ap", "ap_200", "p_100", "p_200"):
            np.testing.assert_allclose(getattr(whole, figure), getattr(parts, figure), rtol=0, atol=1e-14)
        assert whole.summary() == pytest.approx(parts.summary(), abs=1e-14)


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
    "no gallery": (one_bad(2, lambda gallery: gallery[:0]), "gallery set is empty"),
    "no query": (one_bad(0, lambda query: query[:0]), "query set is empty"),
    "flat": (one_bad(0, lambda query: query[0]), "query has shape"),
    "query nan": (one_bad(0, with_nan), "query row 2 holds NaN"),
    "gallery nan": (one_bad(2, with_nan), "gallery row 2 holds NaN"),
    "query labels": (one_bad(1, lambda labels: labels[:3]), "query labels have shape"),
    "gallery labels": (one_bad(3, lambda labels: labels[:3]), "gallery labels have shape"),
    "float labels": (one_bad(3, lambda labels: labels.float()), "give integer class ids"),
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
