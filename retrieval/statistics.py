"""Confidence intervals of metrics and significance of differences: a bootstrap and a paired randomisation test over queries.

Both treat the queries as the sample. The trained networks, the classes and the gallery are fixed: another training seed or other
unseen classes change a metric by more than these intervals say.

A metric is a weighted sum over queries. The functions work on *shares* (n, k) float64: the contribution of each of n queries to
each of k metrics, value times weight, so that the sum of a column is the metric.

`scipy.stats.bootstrap` takes 2 s for each metric of three runs of 15,229 queries and refuses a class of one query; products of
resampling counts and shares compute all metrics in under 1 s.

BLAS and NumPy add in an order that depends on the shape of the whole array. Each column is therefore summed and multiplied by
itself, so its metric and interval are the same to the last bit whatever columns are beside it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
RESAMPLES = 2000  # of the queries
DRAWS = 10_000  # random sign patterns
COUNTS, SIGNS = 2**17, 2**20  # 8-byte numbers held at a time; counts are made by random access, so they should fit a cache


class Difference(NamedTuple):
    """A metric minus that of its baseline; `p` in (0, 1] under the null hypothesis that the two are exchangeable per query."""

    value: float
    low: float
    high: float
    p: float


class Estimate(NamedTuple):
    """A metric, the ends of its interval, and its difference to a baseline if it has one."""

    value: float
    low: float
    high: float
    difference: Difference | None


def query_weights(labels: np.ndarray, mean: str) -> np.ndarray:
    """(n,) float64, summing to 1: the weight of each counted query in a metric's mean (`Metric.mean`).

    labels: (n,) int64. "query": 1 / n; "class": 1 / (number of classes * size of the query's class).
    """
    if mean == "query":
        return np.full(len(labels), 1 / len(labels))
    if mean == "class":
        _, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        return 1 / (len(sizes) * sizes[inverse])
    raise ValueError(f"mean is {mean!r}, not 'query' or 'class'")


def compare_metrics(
    shares: np.ndarray,
    baselines: Sequence[int | None],
    labels: np.ndarray,
    resamples: int = RESAMPLES,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[Estimate]:
    """The metric of each column with its interval and, if it has a baseline, the paired difference to that column.

    shares: (n, k) as above. baselines: k column numbers or None. labels: (n,) int64, the class of each query; the bootstrap
    resamples within classes. All columns share the resamples, and all differences the sign patterns.
    """
    compared = [column for column, baseline in enumerate(baselines) if baseline is not None]
    against = [baseline for baseline in baselines if baseline is not None]
    resampled = resampled_sums(shares, labels, resamples, seed)
    difference = shares[:, compared] - shares[:, against]
    low, high = percentile_interval(resampled[:, compared] - resampled[:, against]).tolist()
    p = sign_flip_p(difference, draws, seed).tolist()
    differences = dict(zip(compared, map(Difference, _sums(difference), low, high, p), strict=True))
    low, high = percentile_interval(resampled).tolist()
    return [Estimate(value, low[i], high[i], differences.get(i)) for i, value in enumerate(_sums(shares))]


def resampled_sums(shares: np.ndarray, labels: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """(resamples, k) float64: the k metrics, each time with the queries of each class drawn from that class with replacement.

    As many queries are drawn as the class has, because a protocol fixes the class sizes, and so the weights.
    Source: stratified nonparametric bootstrap (Davison & Hinkley, Bootstrap Methods and their Application, 1997, 3.2).
    """
    generator = np.random.default_rng([seed, 0])
    sums = np.zeros((resamples, shares.shape[1]))
    for label in np.unique(labels):
        columns = _columns(shares[labels == label])
        size = columns.shape[1]
        step = max(1, COUNTS // size)
        for start in range(0, resamples, step):
            rows = min(step, resamples - start)
            drawn = generator.integers(0, size, (rows, size)) + np.arange(rows)[:, None] * size
            counts = np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size).astype(np.float64)
            sums[start : start + rows] += np.stack([counts @ column for column in columns], axis=1)
    return sums


def percentile_interval(resampled: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """(2, k): the quantiles of (resamples, k) that leave (1 - level) / 2 below and above, interpolated."""
    return np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2], axis=0)


def sign_flip_p(shares: np.ndarray, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """(k,) float64 in (0, 1]: two-sided paired randomisation test of k differences.

    shares: (n, k), each query's share of the difference. If the two values of a query are exchangeable, either sign of its share
    is equally likely. T is the sum of a column and T* the same under random signs; p = (1 + #{|T*| >= |T|}) / (1 + draws), where
    a margin of 1e-12, far above any rounding error, counts equal sums as equal. p = 1 if all shares are 0.
    Source: Fisher's paired randomisation test; in retrieval, Smucker, Allan & Carterette (CIKM 2007).
    """
    generator = np.random.default_rng([seed, 1])
    total = np.array(_sums(shares))
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


def _sums(shares: np.ndarray) -> list[float]:
    """k sums over the rows of (n, k), each column added up by itself."""
    return [float(column.sum()) for column in _columns(shares)]


def _columns(shares: np.ndarray) -> np.ndarray:
    """(k, n) with contiguous rows: the columns of (n, k)."""
    return np.ascontiguousarray(shares.T)
