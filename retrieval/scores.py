"""Rank the gallery for each query and score each ranking: from two feature arrays to `Scores`."""

import itertools
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from retrieval.hashing import itq_codes
from retrieval.metrics import Hits, Scores, per_query_values
from retrieval.names import TIES
from retrieval.ranking import Array, Classes, as_numpy, check_sets, map_blocks, ranker_of
from retrieval.ties import TIE_DRAWS, TieGroups
from utils.errors import InputError
from utils.progress import progress_bar

NEAREST = 100  # photos kept of each ranking


def evaluate_ranking(
    distance: str,
    query: Array,
    query_labels: Array,
    gallery: Array,
    gallery_labels: Array,
    progress: bool = False,
    block_rows: int | None = None,
    ties: str = "stable",
) -> Scores:
    """Rank the gallery for every query and score each ranking.

    distance: "euclidean" with real embeddings, query (n, d) and gallery (m, d), normalised or not; or "hamming" with bool or
    0/1 uint8 codes. Labels (n,) and (m,) int64 use the same class ids. NumPy arrays, or torch tensors on any device.
    progress: show a bar. block_rows: queries ranked at a time; the default bounds the memory and changes no ranking.
    ties: "stable", the lower gallery index first; or "average" ("hamming" only), the mean of each metric over all orders of the
    photos at equal distance: exact where `TieGroups` has a closed form, else (interpolated AP, curve) over TIE_DRAWS seeded
    orders. `nearest` is stable in both.

    Raises InputError if arrays do not fit together, are empty or not finite, and if no query has a positive.
    """
    if ties not in TIES or (ties == "average" and distance != "hamming"):
        raise InputError(f"ties {ties!r} with distance {distance!r}; use 'stable', or 'average' with 'hamming'")
    check_sets(distance, query=query, gallery=gallery)
    labels = _labels("query", query_labels, query), _labels("gallery", gallery_labels, gallery)
    # both sets sorted by label: the positives of a query are then neighbours, and so are the queries of a class
    by_label = [np.argsort(values, kind="stable") for values in labels]
    query, gallery = query[by_label[0]], gallery[by_label[1]]
    sets = _SortedSets(distance, query, gallery, labels[0][by_label[0]], labels[1][by_label[1]], block_rows)
    if not sets.positives.any():
        raise InputError("no query has a photo of its class in the gallery; check that both label lists use the same ids")

    passes = 1 if ties == "stable" else 2 + TIE_DRAWS
    with progress_bar(passes * len(query), f"rank ({distance})", " queries", disable=not progress) as bar:
        scored = sets.in_one_order(by_label[1], bar)
        if ties == "average":
            scored |= sets.over_tied_orders(bar)
    back = np.argsort(by_label[0], kind="stable")
    scored = {name: values[back] for name, values in scored.items()}
    nearest, curve = scored.pop("nearest"), scored.pop("curve")
    return Scores(labels[0], sets.positives[back] > 0, scored, nearest, curve, ties)


def hash_scores(
    query: Array,
    query_labels: Array,
    gallery: Array,
    gallery_labels: Array,
    bits: int,
    ties: str = "stable",
    **itq: Any,
) -> Scores:
    """Rank by Hamming distance between codes of `bits` bits of features (n, d) and (m, d); itq: as of `itq_codes`."""
    return _code_scores(itq_codes(query, gallery, bits, **itq), query_labels, gallery_labels, ties)


def _code_scores(codes: tuple[Array, Array], query_labels: Array, gallery_labels: Array, ties: str) -> Scores:
    return evaluate_ranking("hamming", codes[0], query_labels, codes[1], gallery_labels, progress=True, ties=ties)


def evaluate_features(
    query: Array,
    query_labels: Array,
    gallery: Array,
    gallery_labels: Array,
    bits: int,
    ties: str = "stable",
    **itq: Any,
) -> dict[str, Scores]:
    """{"real": scores of the ranking by Euclidean distance, "hash": as `hash_scores`}; the codes are fitted during the first."""
    # one BLAS thread throughout: the limits inside both parts then agree
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(1) as pool:
        fitting = pool.submit(itq_codes, query, gallery, bits, **itq)
        real = evaluate_ranking("euclidean", query, query_labels, gallery, gallery_labels, progress=True)
        codes = fitting.result()
    return {"real": real, "hash": _code_scores(codes, query_labels, gallery_labels, ties)}


@dataclass
class _SortedSets:
    """Queries and gallery, each sorted by label."""

    distance: str
    query: Array
    gallery: Array
    query_labels: np.ndarray
    gallery_labels: np.ndarray
    block_rows: int | None

    def __post_init__(self) -> None:
        self.first = np.searchsorted(self.gallery_labels, self.query_labels, side="left")  # (n,): where a query's positives begin
        self.positives = np.searchsorted(self.gallery_labels, self.query_labels, side="right") - self.first

    def in_one_order(self, place: np.ndarray, bar: tqdm) -> dict[str, np.ndarray]:
        """{key of PER_QUERY, "nearest" or "curve": (n, ...)}; of equal distances the lower `place` (m,) comes first."""
        ranker = ranker_of(self.distance, self.query, self.gallery, place)

        def rank(start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            places, nearest = ranker(start, stop, self._classes(start, stop), NEAREST)
            return places, self.positives[start:stop], nearest

        def score(ranked: tuple[np.ndarray, np.ndarray, np.ndarray]) -> dict[str, np.ndarray]:
            places, positives, nearest = ranked
            hits = Hits.at(places, positives, ranker.photos)
            return {**per_query_values(hits), "nearest": nearest, "curve": hits.curve().astype(np.float32)}

        return _joined(map_blocks(rank, ranker, self.block_rows, then=score), bar)

    def over_tied_orders(self, bar: tqdm) -> dict[str, np.ndarray]:
        """{key of PER_QUERY or "curve": (n, ...)}: the mean over all, or over drawn, orders of photos at equal distance."""
        generator = np.random.default_rng(0)
        totals: dict[str, np.ndarray] = {}
        for _ in range(TIE_DRAWS):
            drawn = self.in_one_order(generator.permutation(len(self.gallery)), bar)
            del drawn["nearest"]
            totals = {name: totals[name] + values if totals else values for name, values in drawn.items()}
        return {name: total / TIE_DRAWS for name, total in totals.items()} | self._closed_forms(bar)

    def _closed_forms(self, bar: tqdm) -> dict[str, np.ndarray]:
        ranker = ranker_of(self.distance, self.query, self.gallery)

        def count(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
            shape = (stop - start, self.query.shape[1] + 1)
            distances = ranker.distances(start, stop).astype(np.int64) + np.arange(shape[0])[:, None] * shape[1]
            sizes = np.bincount(distances.ravel(), minlength=shape[0] * shape[1]).reshape(shape)
            positives = np.concatenate([distances[rows, columns].ravel() for rows, columns in self._classes(start, stop)])
            return sizes, np.bincount(positives, minlength=shape[0] * shape[1]).reshape(shape)

        def score(counts: tuple[np.ndarray, np.ndarray]) -> dict[str, np.ndarray]:
            values = per_query_values(TieGroups(*counts))
            return {name: value.clip(0, 1) for name, value in values.items()}  # rounding may leave a trace outside

        return _joined(map_blocks(count, ranker, self.block_rows, then=score), bar)

    def _classes(self, start: int, stop: int) -> Classes:
        """(rows of the block, columns of their positives), one pair for each class in the block."""
        edges = np.flatnonzero(np.diff(self.query_labels[start:stop])) + 1
        bounds = itertools.pairwise([0, *edges.tolist(), stop - start])
        firsts = ((low, high, self.first[start + low]) for low, high in bounds)
        return [(slice(low, high), slice(first, first + self.positives[start + low])) for low, high, first in firsts]


def _joined(blocks: Iterable[dict[str, np.ndarray]], bar: tqdm) -> dict[str, np.ndarray]:
    parts = []
    for part in blocks:
        parts.append(part)
        bar.update(len(next(iter(part.values()))))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _labels(name: str, labels: Array, rows: Array) -> np.ndarray:
    values = as_numpy(labels)
    if values.shape != (len(rows),) or values.dtype.kind not in "iu":
        fault = f"{name} labels are {labels.dtype} of shape {values.shape} for {len(rows)} rows"
        raise InputError(f"{fault}; give one integer class id per row")
    return values.astype(np.int64)
