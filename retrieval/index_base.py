"""What every kind of index has: ids that the caller chose, adding, removing, searching, its recall, its file."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import numpy as np

from retrieval import index_file
from retrieval.index_rows import SortedRows
from utils.errors import InputError

_NORM_TOLERANCE = 1e-3  # vectors normalised in half precision still pass
_RESCORED_NUMBERS = 2**22  # of candidates' vectors at once, in float64: 32 MB
_OUTGROWN = 4  # times as many vectors as what was fitted was fitted on

Found = tuple[np.ndarray, np.ndarray]  # ids (q, k) int64, -1 where there are fewer; similarity (q, k) float32, -inf there


class VectorIndex(ABC):
    """Unit vectors of `width` float32 numbers under ids of the caller's, int64 and not negative.

    Order: more similar first, at equal similarity the lower id. A call that raises InputError has changed nothing.
    Threads may search at the same time, but none while another one changes the index.
    `notes` is the caller's, saved and loaded with the index: whatever JSON can hold.
    """

    kind: str

    def __init__(self, width: int, rows: SortedRows, fitted_on: int = 0):
        self.width = width
        self.notes: dict = {}
        self.fitted_on = fitted_on
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows.ids)

    @property
    def ids(self) -> np.ndarray:
        """(n,) int64, ascending; not to be written to."""
        return self._rows.ids

    @property
    def outgrown(self) -> bool:
        """Whether what was fitted to the first vectors (lists, codes) should be fitted anew, by building the index again."""
        return 0 < self.fitted_on * _OUTGROWN < len(self)

    def holds(self, ids: np.ndarray) -> np.ndarray:
        """(m,) bool: which of these ids are in the index."""
        return self._rows.holds(np.asarray(ids, np.int64))

    def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        """ids (m,), vectors (m, width). InputError if an id is there already or given twice, or a vector is unusable."""
        ids, vectors = checked_pairs(ids, vectors, self.width)
        present = self._rows.holds(ids)
        if present.any():
            raise InputError(f"id {ids[present][0]} is in the index already; update it, or give another id")
        self._add(ids, vectors)

    def remove(self, ids: np.ndarray) -> None:
        """InputError if an id is not there or given twice."""
        self._remove(self._present(checked_ids(ids)))

    def update(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        """New vectors (m, width) for ids (m,) that are there; what removing and adding them would come to."""
        ids, vectors = checked_pairs(ids, vectors, self.width)
        self._update(self._present(ids), vectors)

    def search(self, queries: np.ndarray, k: int) -> Found:
        """The k most similar of each unit vector in queries (q, width)."""
        queries = checked_vectors("query", queries, self.width)
        if k < 1:
            raise InputError(f"{k} results asked for; ask for at least 1")
        return padded(self._search(queries, min(k, len(self))) if len(self) and len(queries) else _nothing(queries), k)

    def recall_at(self, k: int, queries=None, exact: "VectorIndex | None" = None, sample: int = 200, seed: int = 0) -> float:
        """The share of the truly k most similar vectors that `search` finds among its k, averaged over queries; 0 to 1.

        queries: (q, width); by default `sample` of the index's own vectors, each with a random vector of length 1 added
        (normalised, the cosine to the original is some 0.7: a query is no copy of what it should find).
        exact: an index of the same ids that is exact; needed where this one keeps no vectors ("codes").
        An index without vectors has a recall of 1.
        """
        truth = exact or self
        if queries is None:
            queries = perturbed(truth._sampled(sample, np.random.default_rng(seed)), seed)
        queries = checked_vectors("query", queries, self.width)
        if len(self) == 0 or len(queries) == 0:
            return 1.0
        wanted = truth._search_exactly(queries, min(k, len(self)))[0]
        return recall(wanted, self.search(queries, k)[0])

    def save(self, path: Path) -> None:
        """The file whole or not at all; InputError if it cannot be written."""
        header = {"kind": self.kind, "width": self.width, "fitted_on": self.fitted_on, "notes": self.notes}
        index_file.write(path, {**header, **self._settings()}, self._arrays())

    def _present(self, ids: np.ndarray) -> np.ndarray:
        absent = ~self._rows.holds(ids)
        if absent.any():
            raise InputError(f"id {ids[absent][0]} is not in the index; add it, or look at `ids` for those that are")
        return ids

    def _update(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        self._remove(ids)
        self._add(ids, vectors)

    def _settings(self) -> dict:
        """What the header holds beside the common part."""
        return {}

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes of memory its content takes, ids included."""

    @abstractmethod
    def _add(self, ids: np.ndarray, vectors: np.ndarray) -> None: ...

    @abstractmethod
    def _remove(self, ids: np.ndarray) -> None: ...

    @abstractmethod
    def _search(self, queries: np.ndarray, k: int) -> Found:
        """With 1 <= k <= n, and at least one query."""

    @abstractmethod
    def _search_exactly(self, queries: np.ndarray, k: int) -> Found:
        """As `_search`, without approximation."""

    @abstractmethod
    def _sampled(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Up to `count` of the vectors, (m, width)."""

    @abstractmethod
    def _arrays(self) -> dict[str, np.ndarray]:
        """What the file holds."""

    @classmethod
    @abstractmethod
    def _restored(cls, header: dict, arrays: dict[str, np.ndarray]) -> "VectorIndex":
        """Of a file's content; ValueError, KeyError or TypeError where it cannot be that of such an index."""


def faiss_library():
    """The module; InputError where it is not installed."""
    try:
        import faiss
    except ImportError as error:
        raise InputError("an index of photos needs faiss: pip install faiss-cpu") from error
    return faiss


def similarities(queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Inner products of the last axis, broadcast over the others, summed in float64 and rounded to float32.

    Each depends on its two vectors alone, not on who is asked about beside them as in a matrix product, so identical vectors
    are equally similar.
    """
    return (vectors.astype(np.float64) * queries).sum(-1).astype(np.float32)


def best(queries: np.ndarray, ids: np.ndarray, vectors: np.ndarray, k: int) -> Found:
    """The k best, or all, of each query's candidates: queries (q, d), ids (q, c) with -1 for none, vectors (q, c, d)."""
    similarity = similarities(queries[:, None], vectors)
    similarity[ids < 0] = -np.inf
    order = np.lexsort((ids, -similarity), axis=-1)[:, :k]
    return np.take_along_axis(ids, order, 1), np.take_along_axis(similarity, order, 1)


def rerank(queries: np.ndarray, candidates: np.ndarray, k: int, vectors_of: Callable[[np.ndarray], np.ndarray]) -> Found:
    """The k best of candidates (q, c), -1 for none, by their true vectors: vectors_of(ids (m,)) -> (m, d).

    For codes: search for several times as many as are wanted, and let the vectors decide, from wherever the caller has them.
    """
    found = padded(_nothing(queries), k)
    rows = max(1, _RESCORED_NUMBERS // max(1, candidates.shape[1] * queries.shape[1]))
    for start in range(0, len(queries), rows):
        block = slice(start, start + rows)
        present = candidates[block] >= 0
        vectors = np.zeros((*present.shape, queries.shape[1]), np.float32)
        vectors[present] = vectors_of(candidates[block][present])
        found[0][block], found[1][block] = padded(best(queries[block], candidates[block], vectors, k), k)
    return found


def recall(wanted: np.ndarray, found: np.ndarray) -> float:
    """The share of ids wanted (q, k) that are in the same row of found (q, any); 0 to 1."""
    return float(np.mean([np.isin(row, other).mean() for row, other in zip(wanted, found, strict=True)]))


def perturbed(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """Unit vectors (m, d), each with a random unit vector added and normalised again, (m, d) float32."""
    noise = np.random.default_rng(seed).standard_normal(vectors.shape)
    return unit(vectors + unit(noise))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows (m, d) divided by their length, float32; a row of zeros becomes the first axis."""
    vectors = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = np.where(lengths > 0, vectors, np.eye(1, vectors.shape[1]))
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def padded(found: Found, k: int) -> Found:
    """(q, any) -> (q, k): with -1 and -inf where there are fewer."""
    ids, similarity = found
    missing = ((0, 0), (0, k - ids.shape[1]))
    return np.pad(ids, missing, constant_values=-1), np.pad(similarity, missing, constant_values=-np.inf)


def _nothing(queries: np.ndarray) -> Found:
    return np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)


def checked_pairs(ids: np.ndarray, vectors: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    ids, vectors = checked_ids(ids), checked_vectors("vector", vectors, width)
    if len(ids) != len(vectors):
        raise InputError(f"{len(ids)} ids for {len(vectors)} vectors; give one id for each")
    return ids, vectors


def checked_ids(ids: np.ndarray) -> np.ndarray:
    """(m,) int64, not negative, none twice; InputError otherwise."""
    ids = np.asarray(ids)
    if ids.ndim != 1 or (len(ids) and not np.issubdtype(ids.dtype, np.integer)):
        raise InputError(f"ids must be whole numbers in one row, (m,); these are {ids.dtype} {ids.shape}")
    ids = ids.astype(np.int64)
    if (ids < 0).any():
        raise InputError(f"id {ids[ids < 0][0]} is negative; ids count from 0 (-1 means that nothing was found)")
    ascending = np.sort(ids)
    twice = ascending[1:] == ascending[:-1]
    if twice.any():
        raise InputError(f"id {ascending[1:][twice][0]} is given twice; give each id once")
    return ids


def checked_vectors(name: str, vectors: np.ndarray, width: int) -> np.ndarray:
    """(m, width) float32, C order, of length 1 to within 0.001; InputError otherwise."""
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or vectors.shape[1] != width:
        raise InputError(f"{name}s have shape {vectors.shape}; this index takes (m, {width}): embed all with one model")
    vectors = np.ascontiguousarray(vectors, np.float32)
    lengths = np.sqrt(np.einsum("md,md->m", vectors, vectors))
    wrong = np.flatnonzero(~(np.abs(lengths - 1) <= _NORM_TOLERANCE))  # NaN is wrong, too
    if len(wrong) and not np.isfinite(vectors[wrong[0]]).all():
        raise InputError(f"{name} {wrong[0]} holds NaN or infinity; look at the model or file that made it")
    if len(wrong):
        raise InputError(f"{name} {wrong[0]} has length {lengths[wrong[0]]:.4g}, not 1; normalise it")
    return vectors


def require(is_so: bool) -> None:
    """ValueError, to be told as a damaged file, unless it is so."""
    if not is_so:
        raise ValueError("not the content of an index")
