"""Vectors in lists around k-means centroids, of which the nearest few are searched (an inverted file)."""

import numpy as np

from retrieval.index_base import Found, VectorIndex, best, faiss_library, padded, require, unit
from retrieval.index_effort import least_effort
from retrieval.index_rows import SortedRows

_POINTS_A_LIST = 64  # k-means learns from so many at most; more take longer and gain little
_KMEANS_STEPS = 10


class IvfIndex(VectorIndex):
    """faiss' IndexIVFFlat. As many lists as the square root of the number of vectors; `nprobe` of them are searched.

    `nprobe` is measured when the index is built, see `index_effort`. Lists stay as they are when vectors are added.
    """

    kind = "ivf"

    def __init__(self, width: int, rows: SortedRows, fitted_on: int, ivf, nprobe: int):
        super().__init__(width, rows, fitted_on)
        self._ivf = ivf
        self.nprobe = nprobe

    @classmethod
    def build(cls, ids: np.ndarray, vectors: np.ndarray, seed: int = 0) -> "IvfIndex":
        """Of checked ids (n,) and vectors (n, d), n > 0."""
        made = cls(vectors.shape[1], SortedRows(0, np.uint8), len(ids), _lists_around(_centroids(vectors, seed)), 1)
        made._add(ids, vectors)
        made.nprobe = least_effort(made, made._found_with, made._ivf.nlist)
        return made

    @property
    def lists(self) -> int:
        return self._ivf.nlist

    @property
    def nbytes(self) -> int:
        return len(self) * (8 + 8 + 4 * self.width) + 4 * self.width * self.lists  # ids in the lists, and in order

    def _add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        if len(ids):
            self._ivf.add_with_ids(vectors, ids)
            self._rows.add(ids, np.empty((len(ids), 0), np.uint8))

    def _remove(self, ids: np.ndarray) -> None:
        if len(ids):
            self._ivf.remove_ids(ids)
            self._rows.remove(ids)

    def _search(self, queries: np.ndarray, k: int) -> Found:
        """Lists with too few vectors are no reason to find fewer than there are: then more lists are searched."""
        ids, similarity = self._found_with(self.nprobe, queries, k)
        nprobe = self.nprobe
        while nprobe < self.lists and (short := (ids < 0).any(1)).any():
            nprobe = min(2 * nprobe, self.lists)
            ids[short], similarity[short] = self._found_with(nprobe, queries[short], k)
        return ids, similarity

    def _search_exactly(self, queries: np.ndarray, k: int) -> Found:
        return self._found_with(self.lists, queries, k)

    def _found_with(self, nprobe: int, queries: np.ndarray, k: int) -> Found:
        candidates = min(len(self), k + max(16, k // 2))  # faiss' order among nearly equal ones is not ours
        parameters = faiss_library().SearchParametersIVF(nprobe=nprobe)
        _, ids, vectors = self._ivf.search_and_reconstruct(queries, candidates, params=parameters)
        return padded(best(queries, ids, vectors, k), k)

    def _sampled(self, count: int, rng: np.random.Generator) -> np.ndarray:
        ends = np.cumsum(self._sizes())
        chosen = rng.permutation(len(self))[:count]
        lists = np.searchsorted(ends, chosen, side="right")
        return np.stack([self._list(number)[1][at - ends[number]] for number, at in zip(lists.tolist(), chosen, strict=True)])

    def _sizes(self) -> np.ndarray:
        return np.array([self._ivf.invlists.list_size(number) for number in range(self.lists)], np.int64)

    def _list(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """ids (m,) and vectors (m, width) of a list, as views that hold until the next change."""
        faiss, lists = faiss_library(), self._ivf.invlists
        size = lists.list_size(number)
        if size == 0:
            return np.empty(0, np.int64), np.empty((0, self.width), np.float32)
        vectors = faiss.rev_swig_ptr(lists.get_codes(number), 4 * size * self.width).view(np.float32)
        return faiss.rev_swig_ptr(lists.get_ids(number), size), vectors.reshape(size, self.width)

    def _settings(self) -> dict:
        return {"nprobe": self.nprobe}

    def _arrays(self) -> dict[str, np.ndarray]:
        lists = [self._list(number) for number in range(self.lists)]
        ids, vectors = (np.concatenate(parts) for parts in zip(*lists, strict=True))
        return {"sizes": self._sizes(), "ids": ids, "vectors": vectors, "centroids": _all_vectors(self._ivf.quantizer)}

    @classmethod
    def _restored(cls, header: dict, arrays: dict[str, np.ndarray]) -> "IvfIndex":
        sizes, ids, vectors, centroids = (arrays[name] for name in ("sizes", "ids", "vectors", "centroids"))
        require(vectors.dtype == centroids.dtype == np.float32 and sizes.dtype == ids.dtype == np.int64)
        require(vectors.ndim == centroids.ndim == 2 and vectors.shape[1] == centroids.shape[1] > 0)
        require(1 <= len(centroids) == len(sizes) and ids.shape == vectors.shape[:1] and sizes.shape == sizes.reshape(-1).shape)
        require(((sizes >= 0) & (sizes <= len(ids))).all() and sizes.sum() == len(ids))
        require(type(header["nprobe"]) is int and 1 <= header["nprobe"] <= len(centroids))
        rows = SortedRows.of_sorted(np.sort(ids), np.empty((len(ids), 0), np.uint8))
        ivf, faiss = _lists_around(centroids), faiss_library()
        if len(ids):
            owners = np.repeat(np.arange(len(sizes)), sizes)
            ivf.add_core(len(ids), *map(faiss.swig_ptr, (vectors, ids, owners)))
        return cls(vectors.shape[1], rows, header["fitted_on"], ivf, header["nprobe"])


def _centroids(vectors: np.ndarray, seed: int) -> np.ndarray:
    """(lists, d) unit vectors."""
    count = max(1, round(len(vectors) ** 0.5))
    learned_from = vectors[np.random.default_rng(seed).permutation(len(vectors))[: _POINTS_A_LIST * count]]
    kmeans = faiss_library().Kmeans(
        vectors.shape[1], count, niter=_KMEANS_STEPS, seed=seed, spherical=True, min_points_per_centroid=1
    )
    kmeans.train(learned_from)
    return unit(kmeans.centroids)


def _lists_around(centroids: np.ndarray):
    """An IndexIVFFlat without vectors, around centroids (lists, d)."""
    faiss = faiss_library()
    width = centroids.shape[1]
    ivf = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, len(centroids), faiss.METRIC_INNER_PRODUCT)
    ivf.quantizer.add(centroids)
    ivf.is_trained = True
    return ivf


def _all_vectors(flat) -> np.ndarray:
    return flat.reconstruct_n(0, flat.ntotal)
