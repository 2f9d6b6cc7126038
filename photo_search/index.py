"""The vectors that are searched: an index of faiss in memory, filled from the database.

    exact   compares the query with every vector
    ivf     compares it with those around the nearest centroids, and misses some of the most similar
    codes   compares binary codes (ITQ) by Hamming distance: less memory, a much coarser order

The database also stores what was fitted on the vectors (centroids, codes), so that opening an index only fills it. faiss trusts
the files that it reads; it reads none here.
"""

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from photo_search.store import Found
from retrieval.itq import itq_projection
from utils.errors import InputError
from utils.text import printable

if TYPE_CHECKING:
    from photo_search.folder_store import FolderStore

KINDS = ("exact", "ivf", "codes")
LARGEST_EXACT = 200_000 * 64  # numbers in all vectors: a query compares them in some 6 ms on one core
LISTS_SEARCHED = 64  # of √n lists
VECTORS_PER_LIST = 64  # for k-means; more take longer and gain little
BITS, CODES_FITTED_ON = 64, 50_000  # more vectors change the codes little and take minutes
LARGEST_SAMPLE = 20_000_000  # numbers in them: float64 copies take some gigabytes
OUTGROWN = 4  # times as many vectors: then centroids and codes are fitted again
BLOCK = 50_000  # vectors read at once
RECALL_QUERIES = 200


class Fit(NamedTuple):
    """What was fitted on `rows` vectors of width d: the centroids (lists, d) of ivf, or [projection, offset] (bits, d + 1)."""

    rows: int
    values: np.ndarray


class VectorIndex:
    """Unit vectors under ids. The more similar one is found first, of equally similar ones that with the lower id.

    revision: the state of the database that it was filled from.
    """

    def __init__(self, kind: str, width: int, fit: Fit | None):
        """kind: one of KINDS; fit: None for "exact"."""
        self.kind, self.fit = kind, fit
        self.last_id, self.revision = -1, 0
        self._index = _empty(kind, width, fit.values if fit else np.empty((0, width)))

    def __len__(self) -> int:
        return self._index.ntotal

    @property
    def bits(self) -> int:
        """The length of the codes."""
        return len(self.fit.values) if self.fit else 0

    def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        """ids (n,) int64, ascending and above those before; vectors (n, d) float32. Raises InputError if one has not length 1."""
        if len(ids):
            require_unit(vectors)
            self._index.add_with_ids(vectors, ids)
            self.last_id = int(ids[-1])

    def fill(self, store: "FolderStore") -> None:
        """Add the photos that were added to the database since the last time; begin again if some are gone."""
        self._add_new(store)
        if len(self) != len(store):
            self._index.reset()
            self.last_id = -1
            self._add_new(store)

    def search(self, queries: np.ndarray, k: int) -> Found:
        """queries (q, d) → ids (q, min(k, n)) and similarity, the cosine or, for codes, 1 - 2 · Hamming distance / bits."""
        require_unit(queries)
        k = min(k, len(self))
        if self.kind != "codes":
            return self._search_vectors(queries, k)
        distance, ids = self._index.search(queries, k)
        return best(ids, 1 - 2 * distance / self.bits, k)

    def recall_at(self, k: int, ids: np.ndarray, vectors: np.ndarray) -> float:
        """The share in [0, 1] of the k most similar that is found, averaged over perturbed copies of 200 of the vectors (n, d).

        Each copy has a random vector of length 1 added: its cosine to the original is some 0.7.
        """
        rng = np.random.default_rng(0)
        sample = vectors[rng.permutation(len(vectors))[:RECALL_QUERIES]]
        queries = perturbed(sample, rng)
        return recall(build("exact", ids, vectors).search(queries, k)[0], self.search(queries, k)[0])

    def _add_new(self, store: "FolderStore") -> None:
        while len((block := store.vectors(self.last_id, BLOCK))[0]):
            self.add(*block)

    def _search_vectors(self, queries: np.ndarray, k: int) -> Found:
        """faiss rounds to float32: a few more candidates are compared in float64, and more if others may equal the last."""
        candidates, lists, rounding = k + max(16, k // 2), LISTS_SEARCHED, (queries.shape[1] + 3) * 2.0**-24
        while True:
            how = _faiss().SearchParametersIVF(nprobe=lists) if self.kind == "ivf" else None
            rough, ids, vectors = self._index.search_and_reconstruct(queries, min(candidates, len(self)), params=how)
            cosine = np.where(ids < 0, -np.inf, (vectors.astype(np.float64) * queries[:, None]).sum(-1)).astype(np.float32)
            ranked = best(ids, cosine, k)
            if (ranked[0] < 0).any() and self.fit and lists < len(self.fit.values):
                lists *= 2  # those searched hold fewer than k
            elif candidates >= len(self) or (ranked[1][:, -1] > rough[:, -1] + rounding).all():
                return ranked
            else:
                candidates *= 4


def up_to_date(store: "FolderStore", codes: bool = False, current: VectorIndex | None = None) -> VectorIndex | None:
    """The index of all photos; None if there are none. `current`, what was returned before, is brought up to date if given."""
    revision = store.revision  # first: a change from here on is seen the next time
    if current is not None and current.revision == revision:
        return current
    count = len(store)
    if count == 0:
        return None
    chosen, width = store.fact("kind"), store.width
    kind = "codes" if codes else chosen if chosen in KINDS else choose_kind(count, width)
    fit = None if kind == "exact" else _stored_fit(store, kind) or _new_fit(store, kind)
    if current is None or current.kind != kind or (fit and current.fit and fit.rows != current.fit.rows):
        current = VectorIndex(kind, width, fit)
    current.fill(store)
    current.revision = revision
    return current


def choose_kind(count: int, width: int) -> str:
    """ "exact" where a query of so many vectors takes a few milliseconds, "ivf" beyond."""
    return "exact" if count * width <= LARGEST_EXACT else "ivf"


def build(kind: str, ids: np.ndarray, vectors: np.ndarray) -> VectorIndex:
    """An index of one of KINDS, fitted on unit vectors (n, d) float32, n > 0, that holds them under ascending ids (n,) int64.

    Raises InputError if a vector has not length 1.
    """
    index = VectorIndex(kind, vectors.shape[1], None if kind == "exact" else fitted(kind, vectors))
    index.add(ids, vectors)
    return index


def fitted(kind: str, vectors: np.ndarray) -> Fit:
    """What "ivf" or "codes" needs to know of the vectors (n, d). Raises InputError if one has not length 1."""
    require_unit(vectors)
    return Fit(len(vectors), _centroids(vectors) if kind == "ivf" else _projection(vectors))


def recall(expected: np.ndarray, found: np.ndarray) -> float:
    """The share of expected ids (q, k) that are in the same row of found (q, any)."""
    return float(np.mean([np.isin(row, other).mean() for row, other in zip(expected, found, strict=True)]))


def best(ids: np.ndarray, similarity: np.ndarray, k: int) -> Found:
    """The first k of each row, by similarity (NaN last), then by id."""
    order = np.lexsort((ids, -similarity), axis=-1)[:, :k]
    return np.take_along_axis(ids, order, 1), np.take_along_axis(similarity, order, 1)


def perturbed(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Unit vectors (n, d), each with a random vector of length 1 added, again of length 1; float32."""
    return unit(vectors + unit(rng.standard_normal(vectors.shape)))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows (n, d) divided by their length, float32."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _stored_fit(store: "FolderStore", kind: str) -> Fit | None:
    """None if there is no usable one, or the photos have outgrown it."""
    try:
        count, values = store.fact(f"fit of {kind}", (0, []))
        array = np.array(values, np.float32).reshape(-1, store.width + (kind == "codes"))
        is_sound = len(array) > 0 and bool((np.abs(array) < 2).all())  # both kinds are parts of unit vectors; never true of NaN
        return Fit(count, array) if is_sound and len(store) <= OUTGROWN * count else None
    except (TypeError, ValueError):
        return None


def _new_fit(store: "FolderStore", kind: str) -> Fit:
    fit = fitted(kind, store.vectors()[1])
    try:
        store.keep_facts(**{f"fit of {kind}": (fit.rows, fit.values.tolist())})
    except InputError as error:
        print(f"note: {printable(error)}; every search fits the index again", file=sys.stderr)
    return fit


def _centroids(vectors: np.ndarray) -> np.ndarray:
    lists = max(1, round(len(vectors) ** 0.5))
    how = {"niter": 10, "seed": 50, "spherical": True, "min_points_per_centroid": 1}
    kmeans = _faiss().Kmeans(vectors.shape[1], lists, max_points_per_centroid=VECTORS_PER_LIST, **how)
    kmeans.train(vectors)
    return kmeans.centroids


def _projection(vectors: np.ndarray) -> np.ndarray:
    """The mean is fixed, so that a query that comes alone gets the code it would get among others."""
    most = min(CODES_FITTED_ON, LARGEST_SAMPLE // vectors.shape[1])
    sample = vectors[np.random.default_rng(50).permutation(len(vectors))[:most]].astype(np.float64)
    mean = sample.mean(0)
    projection = itq_projection(sample - mean, min(BITS, vectors.shape[1]), 50)
    return np.column_stack([projection.T, -mean @ projection]).astype(np.float32)


def _empty(kind: str, width: int, values: np.ndarray) -> Any:
    faiss = _faiss()
    if kind == "ivf":
        centroids = faiss.IndexFlatIP(width)
        centroids.add(values)
        return faiss.IndexIVFFlat(centroids, width, len(values), faiss.METRIC_INNER_PRODUCT)
    if kind == "exact":
        return faiss.IndexIDMap2(faiss.IndexFlatIP(width))
    bits = len(values)
    linear = faiss.LinearTransform(width, bits, True)
    faiss.copy_array_to_vector(values[:, :-1].ravel(), linear.A)
    faiss.copy_array_to_vector(values[:, -1].copy(), linear.b)
    linear.is_trained = True
    return faiss.IndexIDMap(faiss.IndexPreTransform(linear, faiss.IndexLSH(bits, bits, False, False)))


def require_unit(vectors: np.ndarray) -> None:
    """Raise InputError if one of the vectors (n, d) has not length 1."""
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    wrong = lengths[~(np.abs(lengths - 1) < 1e-3)]  # NaN among them
    if len(wrong):
        raise InputError(f"a vector has length {wrong[0]:.4g}, not 1; check the checkpoint, and index the photos again")


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise InputError("an index of photos needs faiss: pip install faiss-cpu") from error
    return faiss
