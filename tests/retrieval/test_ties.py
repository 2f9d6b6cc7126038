"""Means over the orders of tied photos: closed forms against every order there is, and against drawn ones."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.scores import evaluate_ranking
from retrieval.ties import TieGroups
from tests.helpers import slow_retrieval as slow


def groups_of(distances, relevant, bits=6):
    """Counts by distance of one query."""
    sizes, positives = np.zeros((1, bits + 1), dtype=int), np.zeros((1, bits + 1), dtype=int)
    for distance, hit in zip(distances, relevant, strict=True):
        sizes[0, distance] += 1
        positives[0, distance] += hit
    return TieGroups(sizes, positives)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=7), st.integers(1, 9))
def test_closed_forms_are_means_over_every_order(photos, k):
    distances, relevant = [distance for distance, _ in photos], [hit for _, hit in photos]
    groups = groups_of(distances, relevant)

    def mean(metric):
        return slow.over_tie_orders(metric, distances, relevant)

    assert groups.ap()[0] == pytest.approx(mean(slow.plain), abs=1e-12)
    for divisor in ("positives", "k", "hits"):
        assert groups.ap(k, divisor)[0] == pytest.approx(mean(partial(slow.plain, k=k, divide_by=divisor)), abs=1e-12)
    for found, loop in (
        (groups.precision_at(k), slow.precision_at),
        (groups.precision_at_released(k), slow.precision_at_released),
        (groups.recall_at(k), slow.recall_at),
    ):
        assert found[0] == pytest.approx(mean(partial(loop, k=k)), abs=1e-12)


def code_sets(n=12, m=700, bits=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = [torch.randint(0, 3, (size,), generator=generator) for size in (n, m)]
    corners = torch.rand(3, bits, generator=generator) > 0.5
    query, gallery = (corners[label] ^ (torch.rand(len(label), bits, generator=generator) < 0.35) for label in labels)
    return query, labels[0], gallery, labels[1]


def test_averaged_metrics_are_the_means_of_drawn_orders():
    """Every metric, interpolated AP among them, with groups of a hundred photos and the cuts at 100 and 200 inside them."""
    query, query_labels, gallery, gallery_labels = code_sets()
    averaged = evaluate_ranking("hamming", query, query_labels, gallery, gallery_labels, ties="average")
    distances = (query[:, None] != gallery[None]).sum(2).tolist()
    generator = np.random.default_rng(1)
    draws = []
    for _ in range(60):
        order = generator.permutation(len(gallery)).tolist()
        shuffled = [[row[i] for i in order] for row in distances]
        rows = slow.rows(shuffled, query_labels.tolist(), [gallery_labels[i].item() for i in order])
        draws.append({name: [metric(hits) for _, hits in rows] for name, metric in slow.PER_QUERY.items()})
    for name, values in averaged.per_query.items():
        drawn = np.array([draw[name] for draw in draws])
        error = drawn.std(0) * np.sqrt(1 / 60 + (1 / 20 if name == "ap_interpolated" else 0))
        np.testing.assert_array_less(np.abs(values - drawn.mean(0)), 4.5 * error + 1e-9, err_msg=name)
        assert drawn.std(0).max() > 1e-3  # else the order of ties would not matter here


def test_without_ties_nothing_changes():
    bits = 40
    gallery = torch.tensor([[i < row for i in range(bits)] for row in range(1, bits + 1)])  # photo r at distance r
    query = torch.zeros(2, bits, dtype=torch.bool)
    labels = torch.tensor([0, 1]), torch.arange(bits) % 2
    stable, averaged = (
        evaluate_ranking("hamming", query, labels[0], gallery, labels[1], ties=ties) for ties in ("stable", "average")
    )
    assert stable.summary() == pytest.approx(averaged.summary(), abs=1e-12)
    np.testing.assert_allclose(stable.curve, averaged.curve, atol=1e-6)


def test_all_photos_tied_is_chance():
    """A quarter of the photos are positives and all stand at one distance: precision anywhere is a quarter."""
    labels = torch.arange(4000) % 4
    codes = torch.zeros(4000, 8, dtype=torch.bool)
    summary = evaluate_ranking("hamming", codes[:4], labels[:4], codes, labels, ties="average").summary()
    assert summary["p100"] == summary["p200"] == pytest.approx(0.25, abs=1e-9)
    assert summary["map_all"] == pytest.approx(0.25, abs=0.002)  # a little above: (1 + H(4000)) / 4000 more
    assert summary["recall_200"] == pytest.approx(0.05, abs=1e-9)
