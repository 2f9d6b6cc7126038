"""What the report page shows, against loops over one query and one photo at a time; names and colours."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch

from report.analysis import FIRST, best_median_worst, confusion, evenly_sampled
from report.plots import COLOURS
from report.text import class_names, clean
from retrieval.scores import evaluate_ranking


def example(seed, classes, queries, photos, distractors=0):
    """Scores of random embeddings, query labels below `classes`, gallery labels below `classes + distractors`."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, queries), generator.integers(0, classes + distractors, photos)
    features = [torch.from_numpy(generator.normal(size=(len(values), 6)) + values[:, None] % 3) for values in labels]
    scores = evaluate_ranking(
        "euclidean", features[0].float(), torch.from_numpy(labels[0]), features[1].float(), torch.from_numpy(labels[1])
    )
    return scores, *labels


def slow_best_median_worst(scores):
    """By hand: sort the queries of a class with a loop, take the ends and the middle."""
    chosen = {}
    for label in sorted(set(scores.query_labels.tolist())):
        ordered = []
        for query, own in enumerate(scores.query_labels):
            if own == label and scores.has_positive[query]:
                ordered.append((-scores.per_query["ap_interpolated"][query], query))
        ordered.sort()
        if len(ordered) == 1:
            chosen[label] = [("only query", ordered[0][1])]
        elif len(ordered) == 2:
            chosen[label] = [("best", ordered[0][1]), ("worst", ordered[1][1])]
        elif ordered:
            chosen[label] = [("best", ordered[0][1]), ("median", ordered[len(ordered) // 2][1]), ("worst", ordered[-1][1])]
    return chosen


@pytest.mark.parametrize("seed", range(4))
def test_best_median_and_worst_queries_are_found(seed):
    scores, *_ = example(seed, classes=5, queries=6 + 4 * seed, photos=12)
    if seed % 2:
        scores.per_query["ap_interpolated"][:] = 0.5  # all equal
    assert best_median_worst(scores) == slow_best_median_worst(scores)


@pytest.mark.parametrize("seed, distractors", [*itertools.product(range(3), (0, 3))])
def test_confusion_against_nested_loops(seed, distractors):
    scores, query_labels, gallery_labels = example(seed, 4, 25, photos=600 if seed == 2 else 60, distractors=distractors)
    order = np.random.default_rng(seed).permutation(scores.classes())
    found = confusion(scores, gallery_labels, order)
    assert found.has_others == (distractors > 0) and found.shares.shape == (4, 4 + found.has_others)
    wrong = []
    for row, label in enumerate(order):
        size = min(FIRST, (gallery_labels == label).sum())
        counted, queries = Counter(), 0
        for query in np.flatnonzero(query_labels == label):
            queries += 1
            for index in scores.nearest[query][:size]:
                other = gallery_labels[index]
                counted[list(order).index(other) if other in order else 4] += 1
        for column in range(found.shares.shape[1]):
            assert found.shares[row, column] == pytest.approx(counted[column] / queries / size)
            if column != row and counted[column]:
                wrong.append((found.shares[row, column], row, column))
    assert found.shares.sum(1) == pytest.approx(1)
    wrong.sort(reverse=True)
    assert [share for *_, share in found.most_frequent(5)] == [share for share, *_ in wrong[:5]]
    assert set(found.most_frequent(100)) == {(row, column, share) for share, row, column in wrong}


@pytest.mark.parametrize("limit", (20, 37, 200))
def test_a_sample_keeps_the_shares_of_the_classes(limit):
    labels = np.random.default_rng(0).permutation(np.repeat([7, 1, 4], [58, 6, 36]))
    chosen = evenly_sampled(labels, limit)
    assert len(set(chosen.tolist())) == len(chosen) == min(limit, 100) and (np.diff(chosen) > 0).all()
    counts = Counter(labels[chosen].tolist())
    for label, size in ((7, 58), (1, 6), (4, 36)):
        assert abs(counts[label] - len(chosen) * size / 100) <= 1.5


def test_names_are_made_fit_to_print():
    names = class_names(["hot-air_balloon", "", "x" * 500, "a\n b"], np.array([9, 0, 1, 2, 3, 0]))
    assert {label: name for label, name in names.items() if label != 2} == {
        3: "a b",
        1: "class 1",
        9: "class 9",
        0: "hot-air balloon",
    }
    assert names[2] == "x" * 100
    assert list(class_names({np.int64(3): "B", 5: "a", 4: "b"}, np.array([4, 3, 5]))) == [5, 3, 4]
    assert clean("\ud800\u202e\x1b[1m") == "\ufffd\ufffd\ufffd[1m" and clean("👩\u200d💻") == "👩\u200d💻"


def test_colours_of_classes_differ_and_stand_out_on_white_and_black():
    assert len(set(COLOURS)) == len(COLOURS) == 24
    for one in COLOURS:
        rgb = np.array([int(one[place : place + 2], 16) for place in (1, 3, 5)]) / 255
        luminance = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
        assert 1.05 / (luminance + 0.05) >= 3 and (luminance + 0.05) / 0.05 >= 3
