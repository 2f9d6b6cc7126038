"""All vectors compared with the query, by inner product: nothing is missed, and time and memory grow with their number."""

import numpy as np

from retrieval.index_base import Found, VectorIndex, faiss_library, require, rerank, similarities
from retrieval.index_rows import SortedRows

_BLOCK_ROWS = 2**16


class ExactIndex(VectorIndex):
    """faiss' brute force (what IndexFlatIP runs) over one array in the order of ids; no copy, and no table of ids, beside it."""

    kind = "exact"

    @classmethod
    def build(cls, ids: np.ndarray, vectors: np.ndarray) -> "ExactIndex":
        """Of checked ids (n,) and vectors (n, d)."""
        made = cls(vectors.shape[1], SortedRows(vectors.shape[1], np.float32))
        made._add(ids, vectors)
        return made

    def vectors_of(self, ids: np.ndarray) -> np.ndarray:
        """(m, width) float32 of ids (m,) that are there; InputError for others."""
        return self._rows.rows[self._rows.find(self._present(np.asarray(ids, np.int64)))]

    @property
    def nbytes(self) -> int:
        return self._rows.ids.nbytes + self._rows.rows.nbytes

    def _add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        self._rows.add(ids, vectors)

    def _remove(self, ids: np.ndarray) -> None:
        self._rows.remove(ids)

    def _update(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        self._rows.replace(ids, vectors)

    def _search(self, queries: np.ndarray, k: int) -> Found:
        return search_exactly(queries, self._rows, k)

    _search_exactly = _search

    def _sampled(self, count: int, rng: np.random.Generator) -> np.ndarray:
        return self._rows.rows[rng.permutation(len(self))[:count]]

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"ids": self._rows.ids, "vectors": self._rows.rows}

    @classmethod
    def _restored(cls, header: dict, arrays: dict[str, np.ndarray]) -> "ExactIndex":
        vectors = arrays["vectors"]
        require(vectors.dtype == np.float32 and vectors.ndim == 2 and arrays["ids"].dtype == np.int64)
        return cls(vectors.shape[1], SortedRows.of_sorted(arrays["ids"], vectors))


def search_exactly(queries: np.ndarray, photos: SortedRows, k: int) -> Found:
    """The k best of the rows (n, d) by the rules of `index_base.best`, for 1 <= k <= n."""
    faiss = faiss_library()
    count, width = photos.rows.shape
    # faiss rounds products in float32, one way or another: a few more candidates, told apart in float64
    candidates = min(count, k + max(16, k // 2))
    rough, positions = faiss.knn(queries, photos.rows, candidates, faiss.METRIC_INNER_PRODUCT)
    ids, similarity = rerank(queries, positions, k, lambda at: photos.rows[at])  # positions are in the order of ids
    if candidates < count:
        rounding = (width + 3) * 2.0**-24
        for query in np.flatnonzero(similarity[:, -1] <= rough[:, -1] + rounding):  # others may be as similar as the last
            ids[query], similarity[query] = _whole_search(queries[query], photos.rows, k, similarity[query, -1] - rounding)
    return photos.ids[ids], similarity


def _whole_search(query: np.ndarray, vectors: np.ndarray, k: int, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions (k,) and similarity (k,) of one query (d,), of all rows whose rounded product reaches `least`."""
    near = np.flatnonzero(vectors @ query >= least)
    similarity = np.empty(len(near), np.float32)
    for start in range(0, len(near), _BLOCK_ROWS):
        block = near[start : start + _BLOCK_ROWS]
        similarity[start : start + _BLOCK_ROWS] = similarities(query, vectors[block])
    order = np.lexsort((near, -similarity))[:k]
    return near[order], similarity[order]
