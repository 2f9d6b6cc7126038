"""Retrieval metrics, each under its own name: what one paper calls mAP another computes differently.

Terms: the *positives* of a query are the gallery photos of its class; a *hit* is a positive in the ranking; ranks count from 1.
A query without positives has the value 0 and is left out of every mean.

Ties: nearer photos come first, at equal distance the lower gallery index, so every value is a fixed number. With `ties="average"`
(`retrieval.scores`) a value is the mean over all orders of the tied photos: exact where `retrieval.ties` has a closed form, else
the mean over drawn orders.

"Released protocol" is what the public code of SAKE (Liu et al., ICCV 2019) and DSN (Wang et al., IJCAI 2021) computes and what
those papers publish: interpolated AP and precision at 100, averaged within each class, then over classes.

To add a metric, add it to PER_QUERY and, with each of its means, to METRICS. The table, the files, the report and the comparison
of runs follow.
"""

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

RECALL_LEVELS = np.linspace(0, 1, 101)
Divisor = Literal["positives", "k", "hits"]
Mean = Literal["query", "class"]


class Ranking:
    """What metrics are computed from; each method returns (n,) float64 in [0, 1] for n queries. Only the first k photos count.

    Subclasses are `Hits`, one order of the gallery, and `retrieval.ties.TieGroups`, the mean over all orders of tied photos,
    which has no closed form for interpolated AP.
    """

    positives: np.ndarray  # (n,) int64
    photos: int  # size of the gallery

    def interpolated_ap(self) -> np.ndarray:
        """The highest precision at the rank of each hit or any later rank, summed, divided by the positives.

        This is the area under a VOC-style precision-recall curve. Source: public code of SAKE (ICCV 2019) and DSN (IJCAI 2021).
        """
        raise NotImplementedError

    def ap(self, k: int | None = None, divide_by: Divisor = "positives") -> np.ndarray:
        """Precision at the rank of each hit, summed, and divided; values of different divisors cannot be compared.

        divide_by: "positives" (min(k, positives): a perfect ranking reaches 1), "k" (a class of fewer than k photos cannot reach
        1) or "hits" (those found: large even if they are few). Source: the textbook (TREC) definition.
        """
        if divide_by == "hits":
            return self._ap_over_hits(k or self.photos)
        divisor = self.positives if k is None else k if divide_by == "k" else np.minimum(self.positives, k)
        return self._precision_sum(k) / np.maximum(divisor, 1)

    def precision_at(self, k: int) -> np.ndarray:
        """Hits divided by k, even if the gallery has fewer than k photos (TREC)."""
        return self._found(k) / k

    def precision_at_released(self, k: int) -> np.ndarray:
        """Hits divided by min(k, photos in the gallery). Source: public code of SAKE and DSN, with k = 100."""
        return self._found(k) / min(k, self.photos)

    def recall_at(self, k: int) -> np.ndarray:
        """Hits divided by the positives."""
        return self._found(k) / np.maximum(self.positives, 1)

    def _found(self, k: int) -> np.ndarray:
        """(n,): hits within the first k."""
        raise NotImplementedError

    def _precision_sum(self, k: int | None) -> np.ndarray:
        """(n,): sum of the precisions at the hits within the first k."""
        raise NotImplementedError

    def _ap_over_hits(self, k: int) -> np.ndarray:
        """(n,): the precision sum divided by the hits found within the first k; 0 if none is found."""
        raise NotImplementedError


@dataclass
class Hits(Ranking):
    """The ranks of each query's positives in one order of the gallery."""

    ranks: np.ndarray  # (n, most positives of any query) int64, ascending from 1; 0 after a query's last
    positives: np.ndarray
    photos: int

    @classmethod
    def of(cls, relevance: np.ndarray) -> "Hits":
        """From (n, m) bool: column j says whether the photo at rank j + 1 is a positive."""
        relevance = np.asarray(relevance, dtype=bool)
        return cls.at(np.flatnonzero(relevance), relevance.sum(1), relevance.shape[1])

    @classmethod
    def at(cls, places: np.ndarray, positives: np.ndarray, width: int) -> "Hits":
        """From the ascending positions of all hits in the flattened (n, width), and the number of hits (n,) in each row."""
        most = int(positives.max(initial=0))
        row_starts = np.arange(len(positives)) * width
        if (positives == most).all():
            return cls(places.reshape(len(positives), most) - row_starts[:, None] + 1, positives, width)
        ranks = np.zeros((len(positives), most), dtype=np.int64)
        ranks[np.arange(most) < positives[:, None]] = places - np.repeat(row_starts, positives) + 1
        return cls(ranks, positives, width)

    @functools.cached_property
    def _precision(self) -> np.ndarray:
        """(n, most) float64: precision at the rank of each hit, 0 where there is no hit."""
        nth = np.arange(1, self.ranks.shape[1] + 1, dtype=np.float64)
        return np.where(self.ranks > 0, nth / np.maximum(self.ranks, 1), 0)

    @functools.cached_property
    def _interpolated_precision(self) -> np.ndarray:
        """(n, most) float64: the highest precision at the rank of each hit or any later rank."""
        # between two hits precision only falls, so the highest precision from any rank on is found at a hit
        return np.maximum.accumulate(self._precision[:, ::-1], axis=1)[:, ::-1]

    def interpolated_ap(self) -> np.ndarray:
        return self._interpolated_precision.sum(1) / np.maximum(self.positives, 1)

    def curve(self, levels: np.ndarray = RECALL_LEVELS) -> np.ndarray:
        """(n, levels) float64: interpolated precision at these recalls, each in [0, 1]; 0 for a query without positives."""
        precision = self._interpolated_precision
        if precision.shape[1] == 0:
            return np.zeros((len(precision), len(levels)))
        # the first hit that brings recall to the level, without what rounding adds to level * positives
        nth = np.ceil(np.round(levels * self.positives[:, None], 9)).astype(np.int64)
        return np.take_along_axis(precision, np.maximum(nth - 1, 0), axis=1)

    def _found(self, k: int) -> np.ndarray:
        ranks = self.ranks[:, :k]
        return ((ranks > 0) & (ranks <= k)).sum(1)

    def _precision_sum(self, k: int | None) -> np.ndarray:
        if k is None:
            return self._precision.sum(1)
        # the (k + 1)-th hit cannot be within the first k
        return np.where(self.ranks[:, :k] <= k, self._precision[:, :k], 0).sum(1)

    def _ap_over_hits(self, k: int) -> np.ndarray:
        return self._precision_sum(k) / np.maximum(self._found(k), 1)


PER_QUERY: dict[str, Callable[[Ranking], np.ndarray]] = {  # by the key in `Scores.per_query` and in the per-query file
    "ap_interpolated": lambda ranking: ranking.interpolated_ap(),
    "ap": lambda ranking: ranking.ap(),
    "ap_200": lambda ranking: ranking.ap(200),
    "ap_200_over_200": lambda ranking: ranking.ap(200, divide_by="k"),
    "ap_200_over_hits": lambda ranking: ranking.ap(200, divide_by="hits"),
    "p100": lambda ranking: ranking.precision_at(100),
    "p100_within_gallery": lambda ranking: ranking.precision_at_released(100),
    "p200": lambda ranking: ranking.precision_at(200),
    "recall_100": lambda ranking: ranking.recall_at(100),
    "recall_200": lambda ranking: ranking.recall_at(200),
}


class Metric(NamedTuple):
    """One line of the table: which value of each query, how the values are averaged, and an unmistakable name."""

    per_query: str  # key of PER_QUERY
    mean: Mean  # "query": over queries; "class": within each class, then over classes
    text: str


METRICS = {  # by the key in results.json, in the order of the printed table
    "map_all_released": Metric("ap_interpolated", "class", "mAP@all released (interpolated, class mean)"),
    "p100_released": Metric("p100_within_gallery", "class", "P@100 released (÷ min(100, gallery), class mean)"),
    "map_all": Metric("ap", "query", "mAP@all (plain, query mean)"),
    "map_200": Metric("ap_200", "query", "mAP@200 (÷ min(200, positives), query mean)"),
    "p100": Metric("p100", "query", "P@100 (÷ 100, query mean)"),
    "p200": Metric("p200", "query", "P@200 (÷ 200, query mean)"),
    "map_all_interpolated": Metric("ap_interpolated", "query", "mAP@all (interpolated, query mean)"),
    "map_all_class_mean": Metric("ap", "class", "mAP@all (plain, class mean)"),
    "map_200_class_mean": Metric("ap_200", "class", "mAP@200 (÷ min(200, positives), class mean)"),
    "map_200_over_200": Metric("ap_200_over_200", "query", "mAP@200 (÷ 200, query mean)"),
    "map_200_over_200_class_mean": Metric("ap_200_over_200", "class", "mAP@200 (÷ 200, class mean)"),
    "map_200_over_hits": Metric("ap_200_over_hits", "query", "mAP@200 (÷ hits found, query mean)"),
    "map_200_over_hits_class_mean": Metric("ap_200_over_hits", "class", "mAP@200 (÷ hits found, class mean)"),
    "p100_within_gallery": Metric("p100_within_gallery", "query", "P@100 (÷ min(100, gallery), query mean)"),
    "p100_class_mean": Metric("p100", "class", "P@100 (÷ 100, class mean)"),
    "p200_class_mean": Metric("p200", "class", "P@200 (÷ 200, class mean)"),
    "recall_100": Metric("recall_100", "query", "recall@100 (query mean)"),
    "recall_100_class_mean": Metric("recall_100", "class", "recall@100 (class mean)"),
    "recall_200": Metric("recall_200", "query", "recall@200 (query mean)"),
    "recall_200_class_mean": Metric("recall_200", "class", "recall@200 (class mean)"),
}


def per_query_values(ranking: Ranking) -> dict[str, np.ndarray]:
    """{key of PER_QUERY: (n,) float64 in [0, 1]}, without what `ranking` does not implement."""
    values = {}
    for name, metric in PER_QUERY.items():
        with contextlib.suppress(NotImplementedError):
            values[name] = metric(ranking)
    return values


@dataclass
class Scores:
    """Per-query values of one ranking, in the order of the queries."""

    query_labels: np.ndarray  # (n,) int64
    has_positive: np.ndarray  # (n,) bool: whether the query counts in a mean
    per_query: dict[str, np.ndarray]  # as `per_query_values`
    nearest: np.ndarray = field(repr=False)  # (n, up to 100) int32: gallery indices, nearest first
    curve: np.ndarray = field(repr=False)  # (n, 101) float32: interpolated precision at RECALL_LEVELS
    ties: str = "stable"  # or "average", see `retrieval.scores`

    @property
    def without_positive(self) -> int:
        """Number of queries that have no photo of their class in the gallery."""
        return int((~self.has_positive).sum())

    def summary(self) -> dict[str, float]:
        """{key of METRICS: value in [0, 1]}; `map_all_released` and `p100_released` are what SAKE and DSN publish."""
        return {key: float(self.mean(self.per_query[metric.per_query], over=metric.mean)) for key, metric in METRICS.items()}

    def mean(self, values: np.ndarray, over: Mean) -> np.ndarray:
        """Mean of (n, ...) values over queries ("query"), or within each class and then over classes ("class")."""
        return self.class_means(values).mean(0) if over == "class" else values[self.has_positive].mean(0)

    def per_class(self, names: Mapping[int, str] | Sequence[str]) -> dict[str, dict[str, float]]:
        """{class name: {"map_all_released", "p100_released"}} of the classes that have a counted query, by label.

        names: names[label] = class name.
        """
        keys = ("map_all_released", "p100_released")
        means = [self.class_means(self.per_query[METRICS[key].per_query]) for key in keys]
        return {
            names[int(label)]: {key: float(value) for key, value in zip(keys, values, strict=True)}
            for label, *values in zip(self.classes(), *means, strict=True)
        }

    def classes(self) -> np.ndarray:
        """(c,) int64: the labels that have a counted query, ascending."""
        return np.unique(self.query_labels[self.has_positive])

    def class_means(self, values: np.ndarray) -> np.ndarray:
        """(c, ...): mean of (n, ...) values over the counted queries of each of `classes()`."""
        counted = self.has_positive
        return np.array([values[counted & (self.query_labels == label)].mean(0) for label in self.classes()])
