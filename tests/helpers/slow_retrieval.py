"""Retrieval metrics by nested loops over one list of booleans in rank order: slow, and obviously right."""

import itertools
from fractions import Fraction


def released(hits):
    """The released protocol's steps: curve with end points, precision made non-increasing, area over recall."""
    positives = sum(hits)
    if positives == 0:
        return 0.0
    recall, precision, found = [0.0], [0.0], 0
    for rank, hit in enumerate(hits, start=1):
        found += hit
        recall.append(found / positives)
        precision.append(found / rank)
    recall.append(1.0)
    precision.append(0.0)
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    return sum((recall[i] - recall[i - 1]) * precision[i] for i in range(1, len(recall)))


def plain(hits, k=None, divide_by="positives"):
    shown = hits if k is None else hits[:k]
    total = 0
    for rank in range(1, len(shown) + 1):
        if shown[rank - 1]:
            total += Fraction(sum(shown[:rank]), rank)
    if sum(hits) == 0 or sum(shown) == 0:
        return 0.0
    if k is None:
        return float(total / sum(hits))
    return float(total / {"positives": min(k, sum(hits)), "k": k, "hits": sum(shown)}[divide_by])


def precision_at(hits, k):
    return sum(hits[:k]) / k


def precision_at_released(hits, k):
    shown = hits[:k]
    return sum(shown) / len(shown)


def recall_at(hits, k):
    return sum(hits[:k]) / sum(hits) if any(hits) else 0.0


def curve_at(hits, level):
    """The highest precision at any rank whose recall reaches `level`, a Fraction."""
    reached = [sum(hits[:rank]) / rank for rank in range(1, len(hits) + 1) if sum(hits[:rank]) >= level * sum(hits)]
    return max(reached) if any(hits) else 0.0


PER_QUERY = {
    "ap_interpolated": released,
    "ap": plain,
    "ap_200": lambda hits: plain(hits, 200),
    "ap_200_over_200": lambda hits: plain(hits, 200, "k"),
    "ap_200_over_hits": lambda hits: plain(hits, 200, "hits"),
    "p100": lambda hits: precision_at(hits, 100),
    "p100_within_gallery": lambda hits: precision_at_released(hits, 100),
    "p200": lambda hits: precision_at(hits, 200),
    "recall_100": lambda hits: recall_at(hits, 100),
    "recall_200": lambda hits: recall_at(hits, 200),
}


def order(distances):
    """Indices by distance, then by index."""
    return sorted(range(len(distances)), key=lambda index: (distances[index], index))


def rows(distances, query_labels, gallery_labels):
    """(label, hits in rank order) of each query; distances: nested lists."""
    return [
        (label, [gallery_labels[index] == label for index in order(row)])
        for row, label in zip(distances, query_labels, strict=True)
    ]


def query_mean(metric, labelled_rows):
    counted = [hits for _, hits in labelled_rows if any(hits)]
    return sum(metric(hits) for hits in counted) / len(counted)


def class_mean(metric, labelled_rows):
    counted = [(label, hits) for label, hits in labelled_rows if any(hits)]
    means = []
    for wanted in sorted({label for label, _ in counted}):
        values = [metric(hits) for label, hits in counted if label == wanted]
        means.append(sum(values) / len(values))
    return sum(means) / len(means)


def over_tie_orders(metric, distances, relevant):
    """Mean of a metric over every order of the photos that is ascending in distance."""
    values = [
        metric([relevant[index] for index in permutation])
        for permutation in itertools.permutations(range(len(distances)))
        if all(distances[a] <= distances[b] for a, b in itertools.pairwise(permutation))
    ]
    return sum(values) / len(values)
