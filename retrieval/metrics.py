"""Retrieval figures, each under its own name: what one paper calls mAP another computes differently.

Terms: a query's *positives* are the gallery photos of its class; a *hit* is a positive in the ranking; ranks count from
1. The ranking is `retrieval.ranking`'s: nearer first, at equal distance the lower gallery index first, so every figure
here is a fixed number, tied distances or not. All sums are in float64.

"Released protocol" is what the public code of SAKE (Liu et al., ICCV 2019) and DSN (Wang et al., IJCAI 2021) computes
and what those papers publish: VOC-style interpolated AP and precision at 100, averaged within each class, then over
classes.
"""

import contextlib
from dataclasses import dataclass

import numpy as np
import torch

from retrieval.ranking import GalleryKeys, chunk_bounds, ranked_marks
from utils.errors import InputError
from utils.progress import progress_bar


def average_precision_released(relevance, k=None):
    """Interpolated AP of each query, as in the released protocol (the area under a VOC-style curve).

    Precision at each rank is replaced by the highest precision at that rank or any later one; AP is the area under it
    over recall: the sum, over the hits, of this precision, divided by the number of positives.
    With k, ranks beyond k do not exist and the divisor is min(k, positives).

    relevance: (n, m) bool, column j = is the photo at rank j + 1 a positive, over the whole gallery.
    Returns (n,) float64 in [0, 1]; 0 for a query without positives.
    Source: public code of SAKE (ICCV 2019) and DSN (IJCAI 2021).
    """
    return _interpolated_area(*_hit_ranks(relevance), k)


def average_precision(relevance, k=None):
    """Plain AP of each query: precision at the rank of each hit, summed, divided by the number of positives.

    With k, hits beyond rank k do not count and the divisor is min(k, positives), not the number of hits found.
    relevance and result as in `average_precision_released`. Source: the textbook (TREC) definition.
    """
    return _plain_mean(*_hit_ranks(relevance), k)


def precision_at_k(relevance, k):
    """Hits among the first k photos, divided by k (also where the gallery or the positives are fewer than k).

    relevance: (n, m) bool in rank order. Returns (n,) float64 in [0, 1]. Source: SAKE and DSN use k = 100.
    """
    return relevance[:, :k].sum(1).double() / k


def _hit_ranks(relevance):
    """Ranks of each query's hits (n, most positives of any) int64, ascending, 0 after the last; positives (n,)."""
    positives = relevance.sum(1)
    row, column = relevance.nonzero(as_tuple=True)
    before = positives.cumsum(0) - positives
    nth = torch.arange(len(row), device=row.device) - before[row]
    ranks = row.new_zeros((len(relevance), int(positives.max()) if len(positives) else 0))
    ranks[row, nth] = column + 1
    return ranks, positives


def _precision_at_hits(ranks, k):
    """Precision at each hit's rank, float64, 0 where there is no hit within the first k: at the end of the rows."""
    found = torch.arange(1, ranks.shape[1] + 1, device=ranks.device, dtype=torch.float64)
    counted = ranks > 0 if k is None else (ranks > 0) & (ranks <= k)
    return torch.where(counted, found / ranks.clamp(min=1), 0.0)


def _plain_mean(ranks, positives, k):
    return _precision_at_hits(ranks, k).sum(1) / _divisor(positives, k)


def _interpolated_area(ranks, positives, k):
    # between two hits precision only falls, so the highest precision from any rank on is found at a hit
    precision = _precision_at_hits(ranks, k)
    if ranks.shape[1] == 0:
        return precision.sum(1)
    highest_from_here = precision.flip(1).cummax(1).values.flip(1)
    return highest_from_here.sum(1) / _divisor(positives, k)


def _divisor(positives, k):
    return (positives if k is None else positives.clamp(max=k)).clamp(min=1)


@dataclass
class Scores:
    """Per-query figures, float64 arrays (n,), 0 where the query has no positive in the gallery.

    Queries without a positive are left out of every mean below and counted in `without_positive`.
    """

    query_labels: np.ndarray  # (n,) int64
    has_positive: np.ndarray  # (n,) bool
    ap_released: np.ndarray  # interpolated AP, whole ranking
    ap: np.ndarray  # plain AP, whole ranking
    ap_200: np.ndarray  # plain AP of the first 200, divided by min(200, positives)
    p_100: np.ndarray
    p_200: np.ndarray

    @property
    def without_positive(self):
        """How many queries have no photo of their class in the gallery."""
        return int((~self.has_positive).sum())

    def summary(self):
        """{name: float in [0, 1]}.

        map_all_released  interpolated AP: mean within each class, then over classes (what SAKE and DSN publish)
        p100_released     precision at 100, averaged the same way
        map_all           plain AP, mean over queries
        map_200           plain AP of the first 200, divided by min(200, positives), mean over queries
        p100, p200        precision at 100 and at 200, mean over queries
        """
        return {
            "map_all_released": float(self._class_means(self.ap_released).mean()),
            "p100_released": float(self._class_means(self.p_100).mean()),
            "map_all": float(self.ap[self.has_positive].mean()),
            "map_200": float(self.ap_200[self.has_positive].mean()),
            "p100": float(self.p_100[self.has_positive].mean()),
            "p200": float(self.p_200[self.has_positive].mean()),
        }

    def per_class(self, names):
        """{class name: {"map_all_released", "p100_released"}}: the class's mean over its queries, in label order.

        names: sequence or mapping, names[label] = class name. Classes without a counted query are absent.
        """
        released, p100 = self._class_means(self.ap_released), self._class_means(self.p_100)
        return {
            names[int(label)]: {"map_all_released": float(a), "p100_released": float(p)}
            for label, a, p in zip(self._classes(), released, p100, strict=True)
        }

    def _classes(self):
        return np.unique(self.query_labels[self.has_positive])

    def _class_means(self, values):
        counted = self.has_positive
        return np.array([values[counted & (self.query_labels == label)].mean() for label in self._classes()])


def evaluate_ranking(distance, query, query_labels, gallery, gallery_labels, progress=False, chunk_rows=None):
    """Rank the gallery for every query and score each ranking.

    distance: "euclidean" with real embeddings, query (n, d) and gallery (m, d), normalised or not; or "hamming" with
    bool or 0/1 uint8 codes. Labels (n,) and (m,) int64, one numbering for both. Torch tensors on any device.
    progress: show a bar with the rate in queries per second. chunk_rows: queries ranked at a time; the default
    bounds the memory (the query x gallery matrix never exists as a whole). It changes no ranking.

    Returns Scores. Raises InputError on arrays that do not fit together, are empty or not finite, and when no query
    has any positive.
    """
    keys_of = GalleryKeys(distance, query, gallery)
    query_labels = _labels("query", query_labels, keys_of.queries)
    gallery_labels = _labels("gallery", gallery_labels, keys_of.size)
    chunks = []
    bar = progress_bar(keys_of.queries, f"rank ({distance})", " queries") if progress else contextlib.nullcontext()
    with bar:
        for start, stop in chunk_bounds(keys_of.queries, keys_of.size, chunk_rows):
            keys = keys_of(start, stop)
            same = query_labels[start:stop, None].to(keys.device) == gallery_labels.to(keys.device)
            chunks.append(_score(ranked_marks(keys, same)))
            if progress:
                bar.update(stop - start)
    figures = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
    if not figures["has_positive"].any():
        raise InputError("no query has a photo of its class in the gallery; check that both label lists use the same ids")
    return Scores(query_labels=query_labels.numpy(), **figures)


def _score(relevance):
    """{Scores field: array} for one chunk of rankings (r, m)."""
    hits = _hit_ranks(relevance)
    figures = {
        "has_positive": hits[1] > 0,
        "ap_released": _interpolated_area(*hits, None),
        "ap": _plain_mean(*hits, None),
        "ap_200": _plain_mean(*hits, 200),
        "p_100": precision_at_k(relevance, 100),
        "p_200": precision_at_k(relevance, 200),
    }
    return {name: values.cpu().numpy() for name, values in figures.items()}


def _labels(name, labels, rows):
    if labels.ndim != 1 or len(labels) != rows:
        raise InputError(f"{name} labels have shape {tuple(labels.shape)} for {rows} rows; give one label per row")
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise InputError(f"{name} labels are {labels.dtype}; give integer class ids")
    return labels.long().cpu()
