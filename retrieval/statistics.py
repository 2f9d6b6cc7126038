"""How sure a figure is, and whether two runs' figures differ: bootstrap intervals and a paired randomisation test.

Both look at the queries alone. Runs are taken as they are (one training each) and so are classes and gallery: another
training seed or other unseen classes move a figure further than these intervals say.

A figure is a weighted sum over queries, and everything here works on its *shares*: (n, k) float64, what each of n queries
adds to each of k figures, value times weight, so that a column's sum is the figure.

Why not `scipy.stats.bootstrap`: on 15,229 queries of 25 classes it takes 2 s for each figure of three runs and their
differences, and it refuses a class of one query; products of redraw counts and shares give all figures in under 1 s.

Rounding: BLAS and NumPy add in an order that depends on the shape and layout of the whole array. So each column is summed
and multiplied by itself, as a contiguous vector, and its figure and interval are the same to the last bit whatever columns
are beside it.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
RESAMPLES = 2000  # redraws of the queries
DRAWS = 10_000  # random sign patterns
COUNTS, SIGNS = 2**17, 2**20  # numbers held at a time, of 8 bytes; counts are made by random access, so they should fit a cache


class Difference(NamedTuple):
    """A figure minus its baseline's; `p` in (0, 1] is for the null hypothesis that the two are exchangeable per query."""

    value: float
    low: float
    high: float
    p: float


class Estimate(NamedTuple):
    """A figure, the ends of its interval, and its difference to a baseline where it has one."""

    value: float
    low: float
    high: float
    difference: Difference | None


def query_weights(labels: np.ndarray, mean: str) -> np.ndarray:
    """(n,) float64, summing to 1: the weight of each query in a figure's mean (`Figure.mean`: "query" or "class").

    labels: (n,) int64 of the counted queries. "query": 1 / n; "class": 1 / (classes · size of the query's class).
    """
    if mean == "query":
        return np.full(len(labels), 1 / len(labels))
    if mean == "class":
        _, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        return 1 / (len(sizes) * sizes[inverse])
    raise ValueError(f"mean is {mean!r}, not 'query' or 'class'")


def compare_figures(
    shares: np.ndarray,
    baselines: Sequence[int | None],
    labels: np.ndarray,
    resamples: int = RESAMPLES,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[Estimate]:
    """Each column's figure with its interval and, where it has a baseline, the paired difference to that column.

    shares: (n, k) as above. baselines: k column numbers or None. labels: (n,) int64, the class of each query, which the
    bootstrap redraws within. The same redraws serve every column, and the same sign patterns every difference, so a
    result does not depend on which other columns are there.
    """
    own = [column for column, baseline in enumerate(baselines) if baseline is not None]
    their = [baseline for baseline in baselines if baseline is not None]
    redrawn = redrawn_sums(shares, labels, resamples, seed)
    difference = shares[:, own] - shares[:, their]
    rows = zip(
        column_sums(difference),
        *percentile_interval(redrawn[:, own] - redrawn[:, their]).tolist(),
        sign_flip_p(difference, draws, seed).tolist(),
        strict=True,
    )
    differences = dict(zip(own, itertools.starmap(Difference, rows), strict=True))
    low, high = percentile_interval(redrawn).tolist()
    values = column_sums(shares)
    return [Estimate(values[i], low[i], high[i], differences.get(i)) for i in range(len(values))]


def column_sums(shares: np.ndarray) -> list[float]:
    """k sums over the n rows of (n, k) float64, each column added up by itself."""
    return [float(column.sum()) for column in _columns(shares)]


def redrawn_sums(shares: np.ndarray, labels: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """(resamples, k) float64: the k figures, each time with the queries of each class redrawn from that class.

    As many are drawn, with replacement, as the class has: a protocol fixes the class sizes, and so the weights. A class of
    one query is redrawn as itself, and adds no width.
    Source: stratified nonparametric bootstrap (Davison & Hinkley, Bootstrap Methods and their Application, 1997, 3.2).
    """
    generator = np.random.default_rng([seed, 0])
    sums = np.zeros((resamples, shares.shape[1]))
    for label in np.unique(labels):
        mine = _columns(shares[labels == label])
        size = mine.shape[1]
        step = max(1, COUNTS // size)
        for start in range(0, resamples, step):
            rows = min(step, resamples - start)
            drawn = generator.integers(0, size, (rows, size)) + np.arange(rows)[:, None] * size
            counts = np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size)
            sums[start : start + rows] += _products(counts.astype(np.float64), mine)
    return sums


def percentile_interval(redrawn: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """(2, k): what leaves (1 - level) / 2 of the (resamples, k) redrawn figures below and above (interpolated quantiles)."""
    return np.quantile(redrawn, [(1 - level) / 2, (1 + level) / 2], axis=0)


def sign_flip_p(shares: np.ndarray, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """(k,) float64 in (0, 1]: two-sided paired randomisation test of k differences.

    shares: (n, k), each query's share of the difference. If a query's two values are exchangeable, its share is as likely
    to have the other sign. T is a column's sum and T* the same under random signs; p = (1 + #{|T*| >= |T|}) / (1 + draws),
    equal ones counted up to a margin of 1e-12, which is far above the rounding error of any order of addition: so p, a count,
    may come from one product for all columns. p = 1 where all shares are 0.
    Source: Fisher's paired randomisation test; for retrieval, Smucker, Allan & Carterette (CIKM 2007).
    """
    generator = np.random.default_rng([seed, 1])
    total = np.array(column_sums(shares))
    least = np.abs(total) - 1e-12 * np.abs(shares).sum(0)
    as_large = np.zeros(shares.shape[1], dtype=np.int64)
    queries = len(shares)
    step = max(1, SIGNS // queries)
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        bits = generator.integers(0, 256, (rows, -(-queries // 8)), dtype=np.uint8)
        kept = np.unpackbits(bits, axis=1, count=queries).astype(np.float64)
        as_large += (np.abs(2 * (kept @ shares) - total) >= least).sum(0)
    return (1 + as_large) / (1 + draws)


def _columns(shares: np.ndarray) -> np.ndarray:
    """(k, n) with contiguous rows: the columns of (n, k)."""
    return np.ascontiguousarray(shares.T)


def _products(counts: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(rows, k): (rows, n) times each of the k columns (k, n), one after the other, as the module's text says."""
    return np.stack([counts @ column for column in columns], axis=1)
