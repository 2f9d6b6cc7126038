"""The order itself: ties, repeated rows, unnormalised features, chunks."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from retrieval import gpu_ranking, ranking
from retrieval.gpu_ranking import GpuRanker
from retrieval.ranking import EuclideanRanker, map_blocks, ranker_of
from tests.helpers.nearest import top_k
from utils.errors import InputError


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stable_order(query, gallery):
    """Order by directly subtracted float64 coordinates, stable."""
    squared = (query.double()[:, None] - gallery.double()[None]).square().sum(2)
    return squared.sort(dim=1, stable=True).indices.numpy()


def test_hamming_ties_go_to_the_lower_index():
    query = torch.tensor([[True, True, False]])
    gallery = torch.tensor([[0, 0, 1], [1, 1, 1], [1, 0, 0], [1, 1, 0], [0, 1, 0], [1, 1, 0]], dtype=torch.bool)
    assert top_k(query, gallery, 6, "hamming").tolist() == [[3, 5, 1, 2, 4, 0]]
    assert top_k(query, gallery.byte(), 6, "hamming").tolist() == [[3, 5, 1, 2, 4, 0]]


@pytest.mark.parametrize("bits", [1, 64, 65, 300, 2048])
def test_hamming_order_of_many_ties(bits):
    query, gallery = normal(9, bits) > 0, normal(700, bits, seed=1) > 0
    distances = (query[:, None] != gallery[None]).sum(2)
    assert (top_k(query, gallery, 700, "hamming") == distances.sort(dim=1, stable=True).indices.numpy()).all()


def test_gpu_keys_too_large_for_int32(monkeypatch):
    query, gallery = normal(9, 64) > 0, normal(700, 64, seed=1) > 0
    places = [top_k(query, gallery, 700, "hamming")]
    monkeypatch.setattr(ranking, "ranks_on_gpu", lambda array: True)
    for limit in ((65 << 11) + 1, 65 << 11):  # 64 bits, 2 x 700 places: the last size that fits, the first that is too large
        monkeypatch.setattr(gpu_ranking, "INT32_KEYS", limit)
        assert isinstance(ranker_of("hamming", query, gallery), GpuRanker)
        places.append(top_k(query, gallery, 700, "hamming"))
    assert np.array_equal(places[0], places[1]) and np.array_equal(places[0], places[2])


@pytest.mark.parametrize("size", [3, 257, 5003])
def test_repeated_gallery_rows_stay_ties(size):
    rows = normal(size, 64, seed=2)
    gallery = torch.cat([rows, rows.flip(0), rows])
    order = top_k(normal(40, 64), gallery, 3 * size)
    for third in range(0, 9, 3):
        trio = order[:, third : third + 3]
        assert (trio[:, 0] < trio[:, 1]).all() and (trio[:, 1] < trio[:, 2]).all()
        assert np.array_equal(trio[:, 0] + 2 * size, trio[:, 2])
        assert np.array_equal(2 * size - 1 - trio[:, 0], trio[:, 1])


def test_repeated_rows_stay_ties_at_the_edge_of_two_roundings():
    """A matrix product may give two columns of equal numbers results one bit apart; here that bit decides the cut."""
    size, low_bits = 21, 16
    for seed in range(300):
        query, gallery = normal(1, 64, seed=seed).double(), normal(size, 64, seed=1000 + seed).double()
        gallery[-1] = gallery[0]
        squared = (query - gallery[:1]).square().sum()
        assert EuclideanRanker(query.numpy(), gallery.numpy()).low_bits == low_bits
        centre = gallery.mean(0)
        radius = (query - centre).norm() + (gallery - centre).norm(dim=1).max()
        bias = 4 * 66 * 2.0**-52 * radius.square()
        edge = squared.view(torch.int64).bitwise_right_shift(low_bits) * 2**low_bits
        scale = (edge.view(torch.float64) / (squared + bias)).sqrt()
        order = top_k(query * scale, gallery * scale, size)[0].tolist()
        assert order.index(size - 1) == order.index(0) + 1


def test_equal_distances_with_rounding_noise_stay_ties():
    """All gallery rows lie 0.5 away in every coordinate, so 16 in squared distance, but not to the last bit."""
    offsets = normal(300, 64).sign().double() * 0.5
    order = top_k(torch.full((1, 64), 0.1, dtype=torch.float64), 0.1 + offsets, 300)
    assert order[0].tolist() == list(range(300))


@pytest.mark.parametrize("scale, shift", [(1, 0), (1e-12, 0), (1e12, 0), (1, 1000), (0.01, -3)])
def test_true_distance_of_features_of_any_scale(scale, shift):
    query, gallery = normal(20, 16) * scale + shift, normal(400, 16, seed=1) * scale + shift
    assert np.array_equal(top_k(query, gallery, 400), stable_order(query, gallery))


@pytest.mark.parametrize("spread", [1e-3, 1e-5, 1e-6])
def test_nearly_collapsed_features_keep_their_order(spread):
    """All features of a collapsed network lie close together, far from the origin."""
    base = torch.nn.functional.normalize(normal(1, 64, seed=5))
    query, gallery = (torch.nn.functional.normalize(base + spread * normal(n, 64, seed=n)) for n in (30, 1500))
    assert np.array_equal(top_k(query, gallery, 1500), stable_order(query, gallery))


def test_norms_count():
    """By angle the far row would win; by distance it loses."""
    assert top_k(torch.tensor([[1.0, 0.0]]), torch.tensor([[9.0, 0.0], [1.0, 0.5]]), 2).tolist() == [[1, 0]]


def test_top_k_is_the_head_of_the_ranking_whatever_the_chunks(monkeypatch):
    query, gallery = normal(30, 8).round(), normal(90, 8, seed=1).round()
    whole = top_k(query, gallery, 90)
    assert whole.dtype == np.int64
    assert top_k(query, gallery, 1000).shape == (30, 90)
    monkeypatch.setattr(ranking, "CPU_BLOCK_PAIRS", 200)
    assert np.array_equal(top_k(query, gallery, 10), whole[:, :10])


def test_blocks_cover_all_and_stay_small(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    for queries, gallery in ((1, 1), (15_229, 17_101), (92_291, 54_151), (5, 2**20)):
        ranker = ranker_of("hamming", np.zeros((queries, 1), dtype=bool), np.zeros((gallery, 1), dtype=bool))
        bounds = list(map_blocks(lambda start, stop: (start, stop), ranker))
        assert bounds[0][0] == 0 and bounds[-1][1] == queries
        assert all(left[1] == right[0] for left, right in pairwise(bounds))
        assert all(stop - start == 1 or 64 * (stop - start) * gallery * 24 <= 2**29 for start, stop in bounds)


@pytest.mark.parametrize("distance", ["euclidean", "hamming"])
def test_place_decides_between_equals(distance):
    rows, place = np.zeros((6, 3), dtype=bool), np.array([3, 0, 5, 1, 4, 2])
    ranker = ranker_of(distance, rows[:2], rows, place)
    positives, places = ranker(0, 2, [(slice(0, 1), slice(0, 2)), (slice(1, 2), slice(2, 3))], 6)
    assert places.tolist() == [list(range(6))] * 2
    assert positives.tolist() == [0, 3, 6 + 5]


def test_numbers_whose_squares_overflow_are_named():
    with pytest.raises(InputError, match="query row 1 holds numbers too large to square"):
        top_k(normal(3, 4).double() * torch.tensor([[1.0], [1e200], [1.0]], dtype=torch.float64), normal(4, 4).double(), 1)


def test_a_gallery_that_is_too_large_is_named():
    with pytest.raises(InputError, match="too large to rank"):
        ranker_of("euclidean", normal(1, 1), torch.zeros(1, 1).expand(2**21 + 1, 1))
