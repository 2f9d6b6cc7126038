"""The search benchmark: its reference finds what the exact index finds, and a line is printed for each kind."""

import argparse

import numpy as np
import pytest

from benchmarks.search import COLUMNS, K, clustered, plain_search, rows_of
from retrieval.vector_index import KINDS, build

pytest.importorskip("faiss")


def test_the_plain_reference_finds_what_the_exact_index_finds():
    photos, queries = clustered(3000, 16, 0)
    found, similarity = build("exact", np.arange(3000), photos).search(queries, K)
    plain = plain_search(queries, photos)
    assert (plain == found).mean() > 0.99  # float32 products may swap nearly equal ones
    np.testing.assert_allclose((photos[plain] * queries[:, None]).sum(-1), similarity, rtol=0, atol=1e-6)


def test_a_line_for_each_kind():
    options = argparse.Namespace(width=16, seed=0, kinds=list(KINDS), cores=1)
    rows = list(rows_of(600, options))
    assert [row[1] for row in rows] == ["plain", *KINDS, "re-ranked"]
    assert all(len(row) == len(COLUMNS) for row in rows)
    shares = {row[1]: float(row[-2]) for row in rows}
    assert shares["plain"] == shares["exact"] == 1
    assert shares["re-ranked"] > 0.98  # all of the 600 but 100 are re-ranked
    assert 0 < shares["codes"] < 0.9 and shares["ivf"] > 0.9
