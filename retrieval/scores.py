"""Rank, and score each ranking: the way from two feature arrays to `Scores`."""

import itertools

import numpy as np
import torch

from retrieval.metrics import Hits, Scores, figures_of
from retrieval.ranking import GalleryKeys, check_sets, map_blocks, sort_rows
from retrieval.ties import TIE_DRAWS, TieGroups
from utils.errors import InputError
from utils.progress import progress_bar

NEAREST = 100  # photos remembered of each ranking
TIES = ("stable", "average")


def evaluate_ranking(distance, query, query_labels, gallery, gallery_labels, progress=False, block_rows=None, ties="stable"):
    """Rank the gallery for every query and score each ranking.

    distance: "euclidean" with real embeddings, query (n, d) and gallery (m, d), normalised or not; or "hamming" with
    bool or 0/1 uint8 codes. Labels (n,) and (m,) int64, one numbering for both. Torch tensors on any device.
    progress: show a bar with the rate in queries per second. block_rows: queries ranked at a time; the default
    bounds the memory (the query x gallery matrix never exists as a whole). It changes no ranking.
    ties: "stable", the lower gallery index first; or "average" ("hamming" only), each figure's mean over all orders of
    the photos at equal distance: exact (`retrieval.ties`), but for interpolated AP and the curve, which are means over
    TIE_DRAWS seeded orders. `nearest` is stable in both.

    Returns Scores. Raises InputError on arrays that do not fit together, are empty or not finite, and when no query
    has any positive.
    """
    if ties not in TIES or (ties == "average" and distance != "hamming"):
        raise InputError(f"ties {ties!r} with distance {distance!r}; use 'stable', or 'average' with 'hamming'")
    check_sets(distance, query, gallery)
    labels = _labels("query", query_labels, query), _labels("gallery", gallery_labels, gallery)
    # both sets in the order of their labels: the positives of a query are then neighbours, and so are its classmates
    by_label = [np.argsort(values, kind="stable") for values in labels]
    query, gallery = (
        array[torch.from_numpy(order).to(array.device)] for array, order in zip((query, gallery), by_label, strict=True)
    )
    sets = _LabelledSets(distance, query, gallery, labels[0][by_label[0]], labels[1][by_label[1]])
    if not sets.positives.any():
        raise InputError("no query has a photo of its class in the gallery; check that both label lists use the same ids")

    passes = 1 if ties == "stable" else 2 + TIE_DRAWS
    with progress_bar(passes * len(query), f"rank ({distance})", " queries", disable=not progress) as bar:
        scored = sets.scored(by_label[1], bar, block_rows)
        if ties == "average":
            scored = _over_all_tie_orders(sets, scored, bar, block_rows)
    back = np.argsort(by_label[0], kind="stable")
    scored = {name: values[back] for name, values in scored.items()}
    nearest, curve = scored.pop("nearest"), scored.pop("curve")
    return Scores(labels[0], sets.positives[back] > 0, scored, nearest, curve, ties)


class _LabelledSets:
    """Queries and gallery, each in the order of its labels."""

    def __init__(self, distance, query, gallery, query_labels, gallery_labels):
        self.distance, self.query, self.gallery = distance, query, gallery
        self.query_labels = query_labels
        self.first = np.searchsorted(gallery_labels, query_labels, side="left")  # (n,): where a query's positives begin
        self.positives = np.searchsorted(gallery_labels, query_labels, side="right") - self.first

    def classmates(self, start, stop):
        """(rows of the block, columns of their positives), as slices, one pair for each class in the block."""
        edges = np.flatnonzero(np.diff(self.query_labels[start:stop])) + 1
        for low, high in itertools.pairwise([0, *edges.tolist(), stop - start]):
            first = self.first[start + low]
            yield slice(low, high), slice(first, first + self.positives[start + low])

    def scored(self, place, bar, block_rows):
        """{figure, "nearest", "curve": (n, ...)}; `place` says who goes first among equals, and names the photos."""
        keys_of = GalleryKeys(self.distance, self.query, self.gallery, place)

        def rank(start, stop):
            keys = keys_of(start, stop)
            for rows, columns in self.classmates(start, stop):
                keys[rows, columns] += 1
            keys = sort_rows(keys)
            return keys_of.marked(keys), self.positives[start:stop], keys_of.nearest(keys, NEAREST)

        def score(ranked):
            places, positives, nearest = ranked
            hits = Hits.at(places, positives, keys_of.size)
            return {**figures_of(hits), "nearest": nearest, "curve": hits.curve().astype(np.float32)}

        return _joined(map_blocks(rank, keys_of, block_rows, then=score), bar)

    def tie_groups(self, bar, block_rows):
        """{figure: (n,)}: exact means over all orders of what is tied."""
        keys_of = GalleryKeys(self.distance, self.query, self.gallery)

        def count(start, stop):
            keys = keys_of(start, stop)
            distances = (keys if isinstance(keys, np.ndarray) else keys.cpu().numpy()) >> keys_of.low_bits
            distances = distances.astype(np.int64) + np.arange(stop - start)[:, None] * (keys_of.bits + 1)
            shape = (stop - start, keys_of.bits + 1)
            sizes = np.bincount(distances.ravel(), minlength=shape[0] * shape[1]).reshape(shape)
            mine = np.concatenate([distances[rows, columns].ravel() for rows, columns in self.classmates(start, stop)])
            return sizes, np.bincount(mine, minlength=shape[0] * shape[1]).reshape(shape)

        def score(counts):
            return TieGroups(*counts).figures()

        return _joined(map_blocks(count, keys_of, block_rows, then=score), bar)


def _over_all_tie_orders(sets, stable, bar, block_rows):
    generator = np.random.default_rng(0)
    sampled = {"ap_interpolated": 0.0, "curve": 0.0}
    for _ in range(TIE_DRAWS):
        drawn = sets.scored(generator.permutation(len(sets.gallery)), bar, block_rows)
        sampled = {name: total + drawn[name] for name, total in sampled.items()}
    sampled = {name: total / TIE_DRAWS for name, total in sampled.items()}
    return {**stable, **sampled, **sets.tie_groups(bar, block_rows)}


def _joined(blocks, bar):
    parts = []
    for part in blocks:
        parts.append(part)
        bar.update(len(part["ap"]))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _labels(name, labels, rows):
    if labels.ndim != 1 or len(labels) != len(rows):
        raise InputError(f"{name} labels have shape {tuple(labels.shape)} for {len(rows)} rows; give one label per row")
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise InputError(f"{name} labels are {labels.dtype}; give integer class ids")
    return labels.long().cpu().numpy()
