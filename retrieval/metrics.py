"""Retrieval figures, each under its own name: what one paper calls mAP another computes differently.

Terms: a query's *positives* are the gallery photos of its class; a *hit* is a positive in the ranking; ranks count from
1. The ranking is `retrieval.ranking`'s: nearer first, at equal distance the lower gallery index first, so every figure
here is a fixed number, tied distances or not; `retrieval.ties` has the mean over all orders of what is tied. All sums
are in float64.

"Released protocol" is what the public code of SAKE (Liu et al., ICCV 2019) and DSN (Wang et al., IJCAI 2021) computes
and what those papers publish: VOC-style interpolated AP and precision at 100 (of a gallery of fewer than 100 photos, at all
of them), averaged within each class, then over classes.
"""

import functools
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

DIVISORS = ("positives", "k", "hits")
RECALL_LEVELS = np.linspace(0, 1, 101)


def average_precision_released(relevance, k=None):
    """Interpolated AP of each query, as in the released protocol (the area under a VOC-style curve).

    Precision at each rank is replaced by the highest precision at that rank or any later one; AP is the area under it
    over recall: the sum, over the hits, of this precision, divided by the number of positives.
    With k, ranks beyond k do not exist and the divisor is min(k, positives).

    relevance: (n, m) bool, column j = is the photo at rank j + 1 a positive, over the whole gallery.
    Returns (n,) float64 in [0, 1]; 0 for a query without positives.
    Source: public code of SAKE (ICCV 2019) and DSN (IJCAI 2021).
    """
    return Hits.of(relevance).interpolated_ap(k)


def average_precision(relevance, k=None, divide_by="positives"):
    """Plain AP of each query: precision at the rank of each hit, summed, divided by the number of positives.

    With k, hits beyond rank k do not count, and three divisors are in use; figures made with different ones cannot be
    compared. divide_by: "positives" (min(k, positives): 1 is reached by a perfect ranking), "k" (1 is out of reach
    for a class of fewer than k photos) or "hits" (those found within k: large however few they are; without any, 0).

    relevance and result as in `average_precision_released`. Source: the textbook (TREC) definition.
    """
    return Hits.of(relevance).ap(k, divide_by)


def precision_at_k(relevance, k):
    """Hits among the first k photos, divided by k (also where the gallery or the positives are fewer than k).

    relevance: (n, m) bool in rank order. Returns (n,) float64 in [0, 1]. Source: the textbook (TREC) definition.
    """
    return Hits.of(relevance).precision_at(k)


def precision_at_k_released(relevance: np.ndarray, k: int) -> np.ndarray:
    """Hits among the first min(k, m) photos, divided by min(k, m): the share of hits among what is shown.

    Differs from `precision_at_k` only where the gallery has fewer than k photos.

    relevance: (n, m) bool in rank order, column j = the photo at rank j + 1; m photos are ranked for each query. Returns
    (n,) float64 in [0, 1]. Source: public code of SAKE (ICCV 2019) and DSN (IJCAI 2021), with k = 100.
    """
    return Hits.of(relevance).precision_at_released(k)


def recall_at_k(relevance, k):
    """Hits among the first k photos, divided by the number of positives; 0 for a query without positives.

    relevance: (n, m) bool in rank order. Returns (n,) float64 in [0, 1].
    """
    return Hits.of(relevance).recall(k)


@dataclass
class Hits:
    """Where the positives of each query stand, which is all that any figure needs."""

    ranks: np.ndarray  # (n, most positives of any) int64, ascending from 1; 0 after a query's last
    positives: np.ndarray  # (n,) int64
    photos: int  # ranked for each query: the size of the gallery

    @classmethod
    def of(cls, relevance):
        """From (n, m) bool in rank order."""
        relevance = np.asarray(relevance, dtype=bool)
        return cls.at(np.flatnonzero(relevance), relevance.sum(1), relevance.shape[1])

    @classmethod
    def at(cls, places, positives, width):
        """From the places of all hits in the flattened (n, width), ascending, and how many each row has."""
        most = int(positives.max(initial=0))
        ranks = np.zeros((len(positives), most), dtype=np.int64)
        row_starts = np.arange(len(positives)) * width
        ranks[np.arange(most) < positives[:, None]] = places - np.repeat(row_starts, positives) + 1
        return cls(ranks, positives, width)

    @functools.cached_property
    def precision(self):
        """(n, most) float64: precision at each hit's rank, 0 where there is no hit."""
        nth = np.arange(1, self.ranks.shape[1] + 1, dtype=np.float64)
        return np.where(self.ranks > 0, nth / np.maximum(self.ranks, 1), 0)

    def precision_within(self, k):
        """(n, up to k) float64: the same, 0 for hits beyond rank k; the (k + 1)-th hit cannot be within."""
        return self.precision if k is None else np.where(self.ranks[:, :k] <= k, self.precision[:, :k], 0)

    @functools.cached_property
    def interpolated_precision(self):
        """(n, most) float64: the highest precision at each hit's rank or any later one."""
        return _highest_from_here(self.precision)

    def interpolated_ap(self, k=None):
        precision = self.interpolated_precision if k is None else _highest_from_here(self.precision_within(k))
        return precision.sum(1) / self._divisor(k, "positives")

    def ap(self, k=None, divide_by="positives"):
        return self.precision_within(k).sum(1) / self._divisor(k, divide_by)

    def found(self, k):
        """(n,) int64: hits within the first k."""
        ranks = self.ranks[:, :k]
        return ((ranks > 0) & (ranks <= k)).sum(1)

    def precision_at(self, k: int) -> np.ndarray:
        return self.found(k) / k

    def precision_at_released(self, k: int) -> np.ndarray:
        return self.found(k) / min(k, self.photos)

    def recall(self, k):
        return self.found(k) / np.maximum(self.positives, 1)

    def curve(self, levels=RECALL_LEVELS):
        """(n, levels) float64: interpolated precision at these recalls, each in [0, 1]; 0 for a query without positives."""
        precision = self.interpolated_precision
        if precision.shape[1] == 0:
            return np.zeros((len(precision), len(levels)))
        # the first hit that brings recall to the level, taking off what rounding adds to level · positives
        nth = np.ceil(np.round(levels * self.positives[:, None], 9)).astype(np.int64)
        return np.take_along_axis(precision, np.maximum(nth - 1, 0), axis=1)

    def _divisor(self, k, divide_by):
        if divide_by not in DIVISORS:
            raise ValueError(f"divide_by is {divide_by!r}, not one of {DIVISORS}")
        if divide_by == "k" and k is not None:
            return k
        divisor = self.positives if k is None else self.found(k) if divide_by == "hits" else np.minimum(self.positives, k)
        return np.maximum(divisor, 1)


def _highest_from_here(precision):
    # between two hits precision only falls, so the highest precision from any rank on is found at a hit
    return np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]


class Figure(NamedTuple):
    """One line of the table: which per-query figure, averaged how, and the words that tell it from its namesakes."""

    per_query: str  # key of Scores.figures
    mean: str  # "query": over queries; "class": within each class, then over classes
    text: str


METRICS = {
    "map_all_released": Figure("ap_interpolated", "class", "mAP@all released (interpolated, class mean)"),
    "p100_released": Figure("p100_within_gallery", "class", "P@100 released (÷ min(100, gallery), class mean)"),
    "map_all": Figure("ap", "query", "mAP@all (plain, query mean)"),
    "map_200": Figure("ap_200", "query", "mAP@200 (÷ min(200, positives), query mean)"),
    "p100": Figure("p100", "query", "P@100 (÷ 100, query mean)"),
    "p200": Figure("p200", "query", "P@200 (÷ 200, query mean)"),
    "map_all_interpolated": Figure("ap_interpolated", "query", "mAP@all (interpolated, query mean)"),
    "map_all_class_mean": Figure("ap", "class", "mAP@all (plain, class mean)"),
    "map_200_class_mean": Figure("ap_200", "class", "mAP@200 (÷ min(200, positives), class mean)"),
    "map_200_over_200": Figure("ap_200_over_200", "query", "mAP@200 (÷ 200, query mean)"),
    "map_200_over_200_class_mean": Figure("ap_200_over_200", "class", "mAP@200 (÷ 200, class mean)"),
    "map_200_over_hits": Figure("ap_200_over_hits", "query", "mAP@200 (÷ hits found, query mean)"),
    "map_200_over_hits_class_mean": Figure("ap_200_over_hits", "class", "mAP@200 (÷ hits found, class mean)"),
    "p100_within_gallery": Figure("p100_within_gallery", "query", "P@100 (÷ min(100, gallery), query mean)"),
    "p100_class_mean": Figure("p100", "class", "P@100 (÷ 100, class mean)"),
    "p200_class_mean": Figure("p200", "class", "P@200 (÷ 200, class mean)"),
    "recall_100": Figure("recall_100", "query", "recall@100 (query mean)"),
    "recall_100_class_mean": Figure("recall_100", "class", "recall@100 (class mean)"),
    "recall_200": Figure("recall_200", "query", "recall@200 (query mean)"),
    "recall_200_class_mean": Figure("recall_200", "class", "recall@200 (class mean)"),
}


def figures_of(hits):
    """{name: (n,) float64}: every per-query figure that METRICS averages."""
    return {
        "ap_interpolated": hits.interpolated_ap(),
        "ap": hits.ap(),
        "ap_200": hits.ap(200),
        "ap_200_over_200": hits.ap(200, "k"),
        "ap_200_over_hits": hits.ap(200, "hits"),
        "p100": hits.precision_at(100),
        "p100_within_gallery": hits.precision_at_released(100),
        "p200": hits.precision_at(200),
        "recall_100": hits.recall(100),
        "recall_200": hits.recall(200),
    }


@dataclass
class Scores:
    """Per-query figures of one ranking, in the order of the queries.

    Queries without a positive have 0 everywhere, are left out of every mean, and are counted in `without_positive`.
    """

    query_labels: np.ndarray  # (n,) int64
    has_positive: np.ndarray  # (n,) bool
    figures: dict[str, np.ndarray]  # as `figures_of`, float64 (n,)
    nearest: np.ndarray = field(repr=False)  # (n, up to 100) int32: gallery indices, nearest first
    curve: np.ndarray = field(repr=False)  # (n, 101) float32: interpolated precision at RECALL_LEVELS
    ties: str = "stable"  # or "average": what `retrieval.scores` did with equal distances

    @property
    def without_positive(self):
        """How many queries have no photo of their class in the gallery."""
        return int((~self.has_positive).sum())

    def summary(self):
        """{key of METRICS: float in [0, 1]}; `map_all_released` and `p100_released` are what SAKE and DSN publish."""
        return {key: float(self.mean(self.figures[figure.per_query], over=figure.mean)) for key, figure in METRICS.items()}

    def mean(self, values, over):
        """Mean of (n, ...) values over queries ("query"), or within each class and then over classes ("class")."""
        return self.class_means(values).mean(0) if over == "class" else values[self.has_positive].mean(0)

    def per_class(self, names):
        """{class name: {"map_all_released", "p100_released"}}: the class's mean over its queries, in label order.

        names: sequence or mapping, names[label] = class name. Classes without a counted query are absent.
        """
        keys = ("map_all_released", "p100_released")
        means = [self.class_means(self.figures[METRICS[key].per_query]) for key in keys]
        return {
            names[int(label)]: {key: float(value) for key, value in zip(keys, values, strict=True)}
            for label, *values in zip(self.classes(), *means, strict=True)
        }

    def classes(self):
        """(c,) int64: the labels that have a counted query, ascending."""
        return np.unique(self.query_labels[self.has_positive])

    def class_means(self, values):
        """(c, ...): mean of (n, ...) values over the counted queries of each of `classes()`."""
        counted = self.has_positive
        return np.array([values[counted & (self.query_labels == label)].mean(0) for label in self.classes()])
