"""Weights against loops, the bootstrap against a slow one and theory, the randomisation test against all 2^n signs."""

import itertools
import math
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest

from retrieval import statistics as comparison
from retrieval.metrics import Scores
from retrieval.statistics import (
    Difference,
    compare_metrics,
    percentile_interval,
    query_weights,
    resampled_sums,
    sign_flip_p,
)

LABELS = np.array([4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 0, 0, 0, 0, 0, 0, 0, 7, 7, 7, 7, 7])  # classes of 12, 7 and 5 queries


def values_by_class(seed=0):
    """(24,) with far larger differences between the classes than within them."""
    return np.array([0.1, 0, 0, 0, 0.5, 0, 0, 0.9])[LABELS] * 0.9 + 0.1 * np.random.default_rng(seed).random(len(LABELS))


def class_mean(values, labels):
    of_class = {}
    for value, label in zip(values, labels, strict=True):
        of_class.setdefault(label, []).append(value)
    return sum(sum(members) / len(members) for members in of_class.values()) / len(of_class)


def spread_in_theory(values, labels, weights):
    """Standard deviation of a redrawn metric: within each class, draws are independent."""
    variance = 0.0
    for label in set(labels.tolist()):
        mine = labels == label
        variance += mine.sum() * weights[mine][0] ** 2 * values[mine].var()
    return math.sqrt(variance)


def test_weights_give_the_means_that_loops_and_the_table_give():
    values = np.random.default_rng(1).random(len(LABELS))
    scores = Scores(LABELS, np.ones(len(LABELS), dtype=bool), {}, None, None)
    assert query_weights(LABELS, "class") @ values == pytest.approx(class_mean(values, LABELS), abs=1e-14)
    assert query_weights(LABELS, "query") @ values == pytest.approx(sum(values) / len(values), abs=1e-14)
    for mean in ("class", "query"):
        assert query_weights(LABELS, mean) @ values == pytest.approx(scores.mean(values, over=mean), abs=1e-14)
        assert query_weights(LABELS, mean).sum() == pytest.approx(1)
    with pytest.raises(ValueError, match="'median', not 'query' or 'class'"):
        query_weights(LABELS, "median")


def test_each_redraw_takes_as_many_queries_of_each_class_as_it_has():
    counts = resampled_sums(np.eye(len(LABELS)), LABELS, 500, seed=0)
    assert (counts == counts.round()).all() and (counts >= 0).all()
    for label, size in ((4, 12), (0, 7), (7, 5)):
        mine = counts[:, label == LABELS]
        assert (mine.sum(1) == size).all()
        # a query's count is binomial(size, 1 / size): its mean over 500 redraws has this standard error
        assert np.abs(mine.mean(0) - 1).max() < 4 * math.sqrt((1 - 1 / size) / 500)
        assert mine.var(0).mean() == pytest.approx(1 - 1 / size, rel=0.2)


@pytest.mark.parametrize("mean", ["class", "query"])
def test_the_spread_of_redrawn_metrics_is_the_one_of_theory(mean):
    values, weights = values_by_class(), query_weights(LABELS, mean)
    redrawn = resampled_sums((weights * values)[:, None], LABELS, 4000, seed=3)[:, 0]
    expected = spread_in_theory(values, LABELS, weights)
    assert redrawn.std() == pytest.approx(expected, abs=4 * expected / math.sqrt(2 * 4000))
    assert redrawn.mean() == pytest.approx(weights @ values, abs=4 * expected / math.sqrt(4000))


def test_95_of_100_intervals_hold_the_true_mean():
    generator = np.random.default_rng(6)
    labels, truth = np.repeat([0, 1, 2], [20, 30, 50]), np.array([0.2, 0.5, 0.7])
    weights, held, trials = query_weights(labels, "class"), 0, 300
    for trial in range(trials):
        values = truth[labels] + generator.uniform(-0.2, 0.2, 100)
        found = compare_metrics((weights * values)[:, None], [None], labels, resamples=300, seed=trial)[0]
        held += found.low <= truth.mean() <= found.high
    assert 0.90 < held / trials < 0.985  # a little under 0.95 is right for classes of 20


def test_a_class_of_one_query_adds_no_width():
    found = compare_metrics(np.array([[0.1], [0.3]]), [None], np.array([5, 2]))[0]
    assert tuple(found) == pytest.approx((0.4, 0.4, 0.4, None))


def test_the_size_of_the_blocks_changes_no_interval(monkeypatch):
    shares = (query_weights(LABELS, "class") * values_by_class())[:, None]
    whole = resampled_sums(shares, LABELS, 333, seed=1)
    for cells in (1, 40, 100):
        monkeypatch.setattr(comparison, "COUNTS", cells)
        np.testing.assert_allclose(resampled_sums(shares, LABELS, 333, seed=1), whole, atol=1e-14)


def slow_p(shares):
    """The share of all 2^n sign patterns whose sum is at least as far from 0, in exact fractions."""
    total = abs(sum(shares))
    patterns = list(itertools.product((1, -1), repeat=len(shares)))
    as_large = sum(abs(sum(s * x for s, x in zip(signs, shares, strict=True))) >= total for signs in patterns)
    return as_large / len(patterns)


@pytest.mark.parametrize(("queries", "cells"), [(1, None), (5, 64), (8, 1), (9, None)])
def test_p_is_that_of_all_sign_patterns(queries, cells, monkeypatch):
    """Values in hundredths, as of P@100, tie often; weights of classes of different sizes make them no round numbers."""
    if cells:
        monkeypatch.setattr(comparison, "SIGNS", cells)
    draws, generator = 3000, np.random.default_rng(queries)
    labels = np.arange(queries) * 3 // queries
    classes, sizes = len(set(labels)), np.bincount(labels)[labels]
    hundredths = [generator.integers(low, high, queries) for low, high in ((-5, 9), (-2, 3), (-60, 90), (0, 2), (-20, 10))]
    exact = [[Fraction(int(x), 100 * classes * int(size)) for x, size in zip(row, sizes, strict=True)] for row in hundredths]
    shares = np.array(hundredths).T / 100 * query_weights(labels, "class")[:, None]
    for found, row in zip(sign_flip_p(shares, draws, seed=1), exact, strict=True):
        p = slow_p(row)
        assert found == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / draws) + 1.5 / draws)
        assert (found * (1 + draws)) == pytest.approx(round(found * (1 + draws)))


def test_p_where_it_is_known():
    one, none = np.zeros((40, 1)), np.zeros((40, 1))
    one[7] = 0.3
    assert sign_flip_p(one, draws=500) == sign_flip_p(none, draws=500) == 1
    assert sign_flip_p(np.full((40, 1), 0.1), draws=500) == pytest.approx(1 / 501)
    assert sign_flip_p(np.full((40, 1), -0.1), draws=500) == pytest.approx(1 / 501)
    assert sign_flip_p(np.zeros((40, 0))).shape == (0,)


def test_rounding_hides_no_tie():
    """Exactly, 12 of the 16 patterns are as far from 0; in floats, 0.19 + 0.23 - 0.19 comes out above 0.23 for some of them."""
    shares = np.array([0.19, 0.23, -0.19, 0.0]) / 4
    assert slow_p([Fraction(x, 400) for x in (19, 23, -19, 0)]) == 0.75
    assert sign_flip_p(shares[:, None], draws=2000)[0] == pytest.approx(0.75, abs=0.04)


def test_differences_are_paired():
    weights, values = query_weights(LABELS, "class"), values_by_class()
    shifted, other = values + 0.02, values_by_class(seed=9)
    shares = weights[:, None] * np.stack([values, shifted, values, other], axis=1)
    first, second, third, fourth = compare_metrics(shares, [None, 0, 0, 0], LABELS, resamples=800)
    assert first.difference is None and third.difference == Difference(0.0, 0.0, 0.0, 1.0)
    # the same queries redrawn for both: a constant difference has no width, however wide the metrics' own intervals
    assert tuple(second.difference) == pytest.approx((0.02, 0.02, 0.02, 1 / 10_001))
    assert second.high - second.low > 0.01
    redrawn = resampled_sums(weights[:, None] * (other - values)[:, None], LABELS, 800, seed=0)
    expected = percentile_interval(redrawn)[:, 0].tolist()
    assert [fourth.difference.low, fourth.difference.high] == pytest.approx(expected, abs=1e-12)
    assert fourth.difference.value == pytest.approx(fourth.value - first.value)
    assert fourth.difference.p == sign_flip_p(shares[:, 3:] - shares[:, :1])[0]


def test_results_depend_on_the_seed_and_not_on_other_columns():
    shares = query_weights(LABELS, "class")[:, None] * np.stack([values_by_class(seed) for seed in range(5)], axis=1)
    few = compare_metrics(shares[:, :2], [None, 0], LABELS, resamples=200, draws=300)
    many = compare_metrics(shares, [None, 0, 1, None, 3], LABELS, resamples=200, draws=300)
    again = compare_metrics(shares, [None, 0, 1, None, 3], LABELS, resamples=200, draws=300)
    other = compare_metrics(shares, [None, 0, 1, None, 3], LABELS, resamples=200, draws=300, seed=1)
    assert few == many[:2] and many == again
    assert other[1].low != many[1].low and other[1].difference.p != many[1].difference.p
    assert other[1].value == many[1].value


@pytest.mark.parametrize("queries", [24, 60, 1001])
def test_a_column_has_the_same_interval_to_the_last_bit_whatever_is_beside_it(queries):
    """Products and sums over all columns at once round differently with their number, and with the processor."""
    generator = np.random.default_rng(queries)
    labels = np.sort(generator.integers(0, 3, queries))
    shares = generator.random((queries, 19)) / queries
    for columns in (1, 2, 3, 8, 19):
        together = compare_metrics(shares[:, :columns], [None] * columns, labels, resamples=150)
        alone = [compare_metrics(shares[:, [column]], [None], labels, resamples=150)[0] for column in range(columns)]
        assert together == alone


def test_memory_does_not_grow_with_redraws_times_queries():
    labels = np.arange(6000) % 3
    shares = np.random.default_rng(0).normal(size=(6000, 2)) / 6000
    tracemalloc.start()
    compare_metrics(shares, [None, 0], labels, resamples=2000, draws=3000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6  # all redraws at once are 96 MB, all signs 144 MB
