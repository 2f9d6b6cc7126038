"""The benchmark of homes: a row for each kind of index, with its recall."""

import pytest

pytest.importorskip("faiss")

from benchmarks.search import clustered
from benchmarks.stores import COLUMNS, opened, rows_of


@pytest.mark.parametrize("home", ["folder", pytest.param("milvus", marks=pytest.mark.slow)])
def test_a_row_for_each_kind(home, tmp_path):
    kinds = ["exact", "ivf", "codes"]
    if home == "milvus":
        pytest.importorskip("milvus_lite")
        home, kinds = f"milvus:{tmp_path}/lite.db", ["exact", "hnsw", "codes"]
    rows = list(rows_of("title", opened(home, tmp_path / "index"), kinds, *clustered(600, 16, 0)))
    assert all(len(row) == len(COLUMNS) for row in rows)
    exact, approximate, codes = (float(row[-1]) for row in rows)
    assert exact == 1 and approximate > 0.9 and 0 < codes < 0.9
