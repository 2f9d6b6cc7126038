"""Each definition against nested loops, against values of the released code, and by hand."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.metrics import (
    METRICS,
    RECALL_LEVELS,
    Hits,
    Scores,
    average_precision,
    average_precision_released,
    figures_of,
    precision_at_k,
    precision_at_k_released,
    recall_at_k,
)
from tests.helpers import slow_retrieval as slow


def relevance_rows(max_columns=40):
    columns = st.integers(1, max_columns)
    return columns.flatmap(lambda m: st.lists(st.lists(st.booleans(), min_size=m, max_size=m), min_size=1, max_size=6))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(relevance_rows(), st.integers(1, 50))
def test_definitions_match_loops(rows, k):
    relevance = np.array(rows)
    pairs = [
        (average_precision_released(relevance), slow.released, ()),
        (average_precision_released(relevance, k), slow.released, (k,)),
        (average_precision(relevance), slow.plain, ()),
        *((average_precision(relevance, k, by), slow.plain, (k, by)) for by in ("positives", "k", "hits")),
        (precision_at_k(relevance, k), slow.precision_at, (k,)),
        (precision_at_k_released(relevance, k), slow.precision_at_released, (k,)),
        (recall_at_k(relevance, k), slow.recall_at, (k,)),
    ]
    for fast, loop, arguments in pairs:
        np.testing.assert_allclose(fast, [loop(row, *arguments) for row in rows], atol=1e-12)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(relevance_rows())
def test_precision_recall_curve_matches_loops(rows):
    assert RECALL_LEVELS.tolist() == pytest.approx([i / 100 for i in range(101)])
    curve = Hits.of(np.array(rows)).curve()
    expected = [[slow.curve_at(row, Fraction(i, 100)) for i in range(101)] for row in rows]
    np.testing.assert_allclose(curve, expected, atol=1e-12)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.integers(1, 700), st.floats(0.01, 0.9))
def test_every_figure_of_long_rankings_matches_loops(seed, m, share):
    relevance = np.random.default_rng(seed).random((3, m)) < share
    figures = figures_of(Hits.of(relevance))
    assert set(figures) == set(slow.PER_QUERY) == {figure.per_query for figure in METRICS.values()}
    for name, values in figures.items():
        np.testing.assert_allclose(values, [slow.PER_QUERY[name](row) for row in relevance.tolist()], atol=1e-12)


def test_one_ranking_by_hand():
    """Hits at ranks 2, 3 and 6 of 6: precisions 1/2, 2/3, 1/2; interpolated 2/3, 2/3, 1/2."""
    relevance = np.array([[False, True, True, False, False, True]])
    assert average_precision(relevance)[0] == pytest.approx((1 / 2 + 2 / 3 + 1 / 2) / 3)
    assert average_precision_released(relevance)[0] == pytest.approx((2 / 3 + 2 / 3 + 1 / 2) / 3)
    assert average_precision(relevance, k=2)[0] == pytest.approx(1 / 2 / 2)  # one hit of min(2, 3)
    assert average_precision(relevance, k=5, divide_by="k")[0] == pytest.approx((1 / 2 + 2 / 3) / 5)
    assert average_precision(relevance, k=5, divide_by="hits")[0] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert average_precision_released(relevance, k=3)[0] == pytest.approx((2 / 3 + 2 / 3) / 3)
    assert precision_at_k(relevance, 4)[0] == 0.5
    assert precision_at_k(relevance, 100)[0] == 0.03  # of 6 photos: divided by 100 all the same
    assert precision_at_k_released(relevance, 4)[0] == 0.5
    assert precision_at_k_released(relevance, 100)[0] == 0.5  # 3 of 6
    assert recall_at_k(relevance, 3)[0] == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="divide_by"):
        average_precision(relevance, 3, "min")


def test_perfect_and_worst_rankings():
    best = np.array([[True] * 5 + [False] * 15])
    for figure in (average_precision, average_precision_released):
        assert figure(best) == 1
        assert figure(best, k=3) == 1
        assert figure(best[:, ::-1], k=15) == 0
    nothing = figures_of(Hits.of(np.zeros((1, 20), dtype=bool)))
    assert all(values.tolist() == [0] for values in nothing.values())


def test_the_divisor_alone_can_double_a_figure():
    """One hit, at the first place, of 200 positives: all three readings of AP@200 are in use."""
    relevance = np.zeros((1, 1000), dtype=bool)
    relevance[0, [0, *range(500, 699)]] = True
    values = [average_precision(relevance, 200, by)[0] for by in ("positives", "k", "hits")]
    assert values == pytest.approx([1 / 200, 1 / 200, 1])


# ---- means ----


def scores_of(rows):
    """rows: (label, hits in rank order)."""
    hits = Hits.of(np.array([row for _, row in rows]))
    labels = np.array([label for label, _ in rows])
    return Scores(labels, hits.positives > 0, figures_of(hits), np.zeros((len(rows), 0)), hits.curve())


def random_rows(seed=0, n=40, m=300):
    generator = np.random.default_rng(seed)
    shares = generator.uniform(0.02, 0.9, 5)  # each class its own, or the two means would be alike
    labels = generator.choice(5, n, p=[0.5, 0.2, 0.1, 0.1, 0.1])
    return [(int(label), (generator.random(m) < shares[label]).tolist()) for label in labels]


def test_summary_matches_loops():
    means, values = {"query": slow.query_mean, "class": slow.class_mean}, []
    for photos in (300, 90):
        rows = random_rows(m=photos)
        expected = {key: means[figure.mean](slow.PER_QUERY[figure.per_query], rows) for key, figure in METRICS.items()}
        assert scores_of(rows).summary() == pytest.approx(expected, abs=1e-12)
        values.append(expected.values())
    assert len(set(zip(*values, strict=True))) == len(METRICS)  # else two figures could be swapped unseen


def test_every_figure_has_both_means_and_a_name_of_its_own():
    names = {figure.per_query for figure in METRICS.values()}
    assert {(figure.per_query, figure.mean) for figure in METRICS.values()} == {(n, m) for n in names for m in ("query", "class")}
    assert len({figure.text for figure in METRICS.values()}) == len(METRICS)


def test_queries_without_positive_are_left_out_and_counted():
    rows = random_rows()
    with_strangers = [(9, [False] * 300), *rows, (9, [False] * 300), (rows[0][0], [False] * 300)]
    before, after = scores_of(rows), scores_of(with_strangers)
    assert (before.without_positive, after.without_positive) == (0, 3)
    assert after.summary() == before.summary()
    assert all(np.isfinite(values).all() for values in after.figures.values())


@pytest.mark.parametrize("photos", [300, 90])
def test_per_class_names_and_values(photos):
    rows = random_rows(m=photos)
    scores = scores_of(rows)
    names = ["ape", "bell", "cat", "door", "eye"]
    by_class = scores.per_class(names)
    assert list(by_class) == names
    for label, name in enumerate(names):
        own = [row for row in rows if row[0] == label]
        assert by_class[name]["map_all_released"] == pytest.approx(slow.query_mean(slow.released, own))
        assert by_class[name]["p100_released"] == pytest.approx(slow.query_mean(slow.PER_QUERY["p100_within_gallery"], own))
    mean = np.mean([row["map_all_released"] for row in by_class.values()])
    assert mean == pytest.approx(scores.summary()["map_all_released"])
