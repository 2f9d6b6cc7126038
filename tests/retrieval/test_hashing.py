"""ITQ codes: the released ones, the paper's objective, odd shapes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from retrieval.hashing import itq_codes
from tests.helpers.nearest import top_k
from utils.errors import InputError


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).with_name("golden_retrieval.npz")) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def features(n, d, seed=0, scales=True):
    """Correlated rows with a mean that is not zero."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((d, d)) * (np.linspace(2, 0.3, d) if scales else 1)
    return torch.from_numpy(rng.standard_normal((n, d)) @ mixing + rng.standard_normal(d)).float()


def test_codes_of_the_released_code(golden):
    """Released codes and rankings come back exactly, up to a column's sign.

    Its update hangs on signs that LAPACK is free to choose and that the last bit of the input may turn, on some
    machines more than on others: one of several roundings of the same features must give the codes.
    """
    query, gallery = golden["metric_query"].double(), golden["metric_gallery"].double()
    wanted = [golden["itq_query_codes"], golden["itq_gallery_codes"]]
    noise = torch.Generator().manual_seed(0)
    for attempt in range(20):
        shaken = query * (1 + attempt * 1e-15 * torch.randn(query.shape, generator=noise, dtype=torch.float64))
        codes = itq_codes(shaken, gallery, 16)
        turned = (codes[0] != wanted[0]).double().mean(0) > 0.5
        if torch.equal(codes[0] ^ turned, wanted[0]) and torch.equal(codes[1] ^ turned, wanted[1]):
            break
    else:
        pytest.fail("no rounding of the features gives the released codes")
    assert (top_k(*codes, 600, "hamming") == top_k(*wanted, 600, "hamming")).all()


def agreement_with_corners(query, codes):
    """Best orthogonal fit of the centred rows to the codes: the nuclear norm of signsᵀ·rows (higher is better)."""
    centred = query.double() - query.double().mean(0)
    return torch.linalg.matrix_norm((codes.double() * 2 - 1).T @ centred, "nuc").item()


def test_paper_update_reduces_the_quantization_error():
    query, gallery = features(400, 24), features(300, 24, seed=1)
    reached = [
        agreement_with_corners(query, itq_codes(query, gallery, 24, iterations=n, update="procrustes")[0])
        for n in (0, 1, 3, 10, 50)
    ]
    assert reached == sorted(reached)
    released = agreement_with_corners(query, itq_codes(query, gallery, 24)[0])
    assert reached[-1] > 1.02 * max(reached[0], released)


def test_paper_update_does_not_depend_on_the_order_of_features():
    """Reordered columns give eigenvectors of other raw signs; with signs fixed the codes are the same."""
    query, gallery = features(200, 8), features(100, 8, seed=1)
    order = torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])
    straight = itq_codes(query, gallery, 8, update="procrustes")
    moved = itq_codes(query[:, order], gallery[:, order], 8, update="procrustes")
    assert all(torch.equal(a, b) for a, b in zip(straight, moved, strict=True))


@pytest.mark.parametrize("update", ["released", "procrustes"])
def test_repeatable_and_seeded(update):
    query, gallery = features(80, 12), features(90, 12, seed=1)
    first, again = (itq_codes(query, gallery, 12, seed=4, update=update) for _ in range(2))
    other = itq_codes(query, gallery, 12, seed=5, update=update)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_each_set_is_centred_on_its_own_mean():
    query, gallery = features(80, 6).double(), features(90, 6, seed=1).double()
    straight = itq_codes(query, gallery, 6, update="procrustes")
    moved = itq_codes(query + 5, gallery - 3, 6, update="procrustes")
    assert all(torch.equal(a, b) for a, b in zip(straight, moved, strict=True))
    released = itq_codes(query, gallery, 6), itq_codes(query, gallery - 3, 6)
    assert torch.equal(released[0][1], released[1][1])
    assert 0.2 < straight[1].double().mean() < 0.8


def test_fitted_on_the_queries_alone():
    query, gallery = features(80, 6), features(90, 6, seed=1)
    assert torch.equal(itq_codes(query, gallery, 6)[0], itq_codes(query, gallery[:10] * 7, 6)[0])


def test_fewer_bits_keep_the_widest_directions():
    """With one bit the code is the sign along the first principal direction."""
    query = torch.randn(500, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.1, 0.1, 9.0, 0.1, 0.1])
    code = itq_codes(query, query, 1)[0][:, 0]
    above = query[:, 2] > query[:, 2].mean()
    assert max((code == above).double().mean(), (code != above).double().mean()) > 0.97


@pytest.mark.parametrize("update", ["released", "procrustes"])
@pytest.mark.parametrize("n, d, bits", [(1, 4, 4), (3, 16, 16), (40, 1, 1), (5, 64, 32)])
def test_few_queries_and_low_rank(n, d, bits, update):
    query, gallery = itq_codes(features(n, d), features(20, d, seed=1), bits, update=update)
    assert query.shape == (n, bits) and gallery.shape == (20, bits)
    assert query.dtype == gallery.dtype == torch.bool


BAD = {
    "bits": ((features(4, 3), features(5, 3), 4), "4 bits from 3 numbers"),
    "no bits": ((features(4, 3), features(5, 3), 0), "choose 1 to 3"),
    "dims": ((features(4, 3), features(5, 2), 2), "query rows have 3 numbers, gallery rows 2"),
    "empty": ((features(4, 3)[:0], features(5, 3), 2), r"query has shape \(0, 3\)"),
    "nan": ((features(4, 3), features(5, 3) * float("nan"), 2), "gallery row 0 holds NaN"),
    "update": ((features(4, 3), features(5, 3), 2, 0, 5, "other"), "unknown"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    arguments, message = BAD[case]
    with pytest.raises(InputError, match=message):
        itq_codes(*arguments)


# ---- rows that the codes are fitted on ----


def by_hand(fitted, arrays, means, bits):
    """Procrustes codes with PCA and rotation of `fitted`, step by step."""
    fitted = fitted.double().numpy()
    variances, vectors = np.linalg.eigh(np.cov(fitted.T))
    components = vectors[:, variances.argsort()[::-1][:bits]]
    components = components * np.sign(components[np.abs(components).argmax(0), np.arange(bits)])
    rotation = np.linalg.svd(np.random.RandomState(50).randn(bits, bits))[0]
    for _ in range(50):
        left, _, right = np.linalg.svd(np.where(fitted @ components @ rotation >= 0, 1.0, -1.0).T @ (fitted @ components))
        rotation = right.T @ left.T
    return [((array - mean).double().numpy() @ components @ rotation) > 0 for array, mean in zip(arrays, means, strict=True)]


@pytest.mark.parametrize("fit", ["queries", "gallery", "train"])
def test_codes_are_fitted_on_the_chosen_rows(fit):
    query, gallery = features(90, 10), features(120, 10, seed=1) * 2 + 1
    training = features(200, 10, seed=2) * torch.arange(1, 11) + 3, features(150, 10, seed=3) - 2
    own = [query.double().mean(0), gallery.double().mean(0)]
    seen = [part.double().mean(0) for part in training]
    fitted = {
        "queries": query - own[0],
        "gallery": gallery - own[1],
        "train": torch.cat([part - mean for part, mean in zip(training, seen, strict=True)]),
    }[fit]
    expected = by_hand(fitted, (query, gallery), seen if fit == "train" else own, 6)
    codes = itq_codes(query, gallery, 6, update="procrustes", fit=fit, training=training)
    for code, wanted in zip(codes, expected, strict=True):
        assert (code.numpy() == wanted).mean() > 0.999


def test_training_codes_do_not_depend_on_the_other_queries():
    query, gallery = features(40, 10), features(50, 10, seed=1)
    training = features(200, 10, seed=2), features(150, 10, seed=3)
    whole = itq_codes(query, gallery, 6, fit="train", training=training)[0]
    alone = itq_codes(query[:1], gallery, 6, fit="train", training=training)[0]
    assert torch.equal(whole[:1], alone)


def test_fits_that_cannot_be_are_named():
    query = features(20, 6)
    with pytest.raises(InputError, match="without training features"):
        itq_codes(query, query, 4, fit="train", training=())
    with pytest.raises(InputError, match="ITQ fit 'photos' is unknown"):
        itq_codes(query, query, 4, fit="photos")
    with pytest.raises(InputError, match="training gallery rows 5"):
        itq_codes(query, query, 4, fit="train", training=(query, features(9, 5)))
