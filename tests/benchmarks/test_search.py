"""The search benchmark: its reference finds what the exact index finds, and a row is printed for each kind."""

import numpy as np
import pytest

pytest.importorskip("faiss")

from benchmarks.search import COLUMNS, K, clustered, plain_search, rows_of
from photo_search.index import KINDS, build


def test_the_plain_reference_finds_what_the_exact_index_finds():
    photos, queries = clustered(3000, 16, 0)
    found, similarity = build("exact", np.arange(3000), photos).search(queries, K)
    plain = plain_search(queries, photos)
    assert (plain == found).mean() > 0.99  # float32 products may swap nearly equal ones
    np.testing.assert_allclose((photos[plain] * queries[:, None]).sum(-1), similarity, rtol=0, atol=1e-6)


def test_a_row_for_each_kind():
    rows = list(rows_of(600, list(KINDS), width=16, cores=1, seed=0))
    assert [row[1] for row in rows] == ["plain", *KINDS]
    assert all(len(row) == len(COLUMNS) for row in rows)
    shares = {row[1]: float(row[-1]) for row in rows}
    assert shares["plain"] == shares["exact"] == 1
    assert 0 < shares["codes"] < 0.9 and shares["ivf"] > 0.9
