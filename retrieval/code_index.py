"""Binary codes compared by Hamming distance: 8 bytes a vector for 64 bits, and a million compared in milliseconds."""

import numpy as np

from retrieval.hashing import itq_projection
from retrieval.index_base import Found, VectorIndex, faiss_library, require
from retrieval.index_rows import SortedRows
from utils.errors import InputError

FITTED_ON = 50_000  # vectors at most, drawn at random: more change the codes little and take minutes
_BLOCK_ROWS = 2**16


class Coder:
    """ITQ fitted once: the same mean (d,), PCA and rotation (d, bits) for the first vectors, later ones and queries.

    `retrieval.hashing` centres queries on a mean of their own, which a query that comes alone does not have.
    """

    def __init__(self, mean: np.ndarray, projection: np.ndarray):
        self.mean, self.projection = mean, projection
        self.bits = projection.shape[1]

    @classmethod
    def fit(cls, vectors: np.ndarray, bits: int, seed: int = 50) -> "Coder":
        """On vectors (n, d), n > 0; 1 <= bits <= d."""
        fitted = vectors[np.random.default_rng(seed).permutation(len(vectors))[:FITTED_ON]].astype(np.float64)
        mean = fitted.mean(0)
        return cls(mean, itq_projection(fitted - mean, bits, seed))

    def codes(self, vectors: np.ndarray) -> np.ndarray:
        """(n, d) -> (n, bytes) uint8: bit = projected value > 0, the last byte filled up with zeros."""
        packed = np.empty((len(vectors), -(-self.bits // 8)), np.uint8)
        for start in range(0, len(vectors), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            packed[block] = np.packbits((vectors[block] - self.mean) @ self.projection > 0, axis=1)
        return packed


class CodeIndex(VectorIndex):
    """Similarity is 1 - 2 · distance / bits, in -1 to 1: the inner product of the codes as unit vectors of -1 and 1.

    It is an estimate of the vectors' cosine around their mean, in steps of 2 / bits, so many are equally similar. The vectors
    are not kept; `index_base.rerank` orders what was found by them where the caller has them.
    """

    kind = "codes"

    def __init__(self, width: int, rows: SortedRows, fitted_on: int, coder: Coder):
        super().__init__(width, rows, fitted_on)
        self.coder = coder

    @property
    def bits(self) -> int:
        return self.coder.bits

    @classmethod
    def build(cls, ids: np.ndarray, vectors: np.ndarray, bits: int, seed: int = 50) -> "CodeIndex":
        """Of checked ids (n,) and vectors (n, d), on which the codes are fitted. InputError unless 1 <= bits <= d."""
        width = vectors.shape[1]
        if not 1 <= bits <= width:
            raise InputError(f"{bits} bits asked of {width} numbers a vector; ask for 1 to {width} bits")
        made = cls(width, SortedRows(-(-bits // 8), np.uint8), len(ids), Coder.fit(vectors, bits, seed))
        made._add(ids, vectors)
        return made

    @property
    def nbytes(self) -> int:
        return self._rows.ids.nbytes + self._rows.rows.nbytes

    def _add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        self._rows.add(ids, self.coder.codes(vectors))

    def _remove(self, ids: np.ndarray) -> None:
        self._rows.remove(ids)

    def _update(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        self._rows.replace(ids, self.coder.codes(vectors))

    def _search(self, queries: np.ndarray, k: int) -> Found:
        # "hc", a heap: of equal distances it keeps the lower positions, which are in the order of ids
        distance, positions = faiss_library().knn_hamming(self.coder.codes(queries), self._rows.rows, k, variant="hc")
        order = np.lexsort((positions, distance), axis=-1)
        ids = self._rows.ids[np.take_along_axis(positions, order, 1)]
        return ids, (1 - 2 * np.take_along_axis(distance, order, 1) / self.bits).astype(np.float32)

    def _search_exactly(self, queries: np.ndarray, k: int) -> Found:
        raise InputError("an index of codes keeps no vectors to compare with; give an exact index of the same ids")

    def _sampled(self, count: int, rng: np.random.Generator) -> np.ndarray:
        raise InputError("an index of codes keeps no vectors to make queries of; give an exact index of the same ids")

    def _arrays(self) -> dict[str, np.ndarray]:
        fitted = {"mean": self.coder.mean, "projection": self.coder.projection}
        return {"ids": self._rows.ids, "codes": self._rows.rows, **fitted}

    @classmethod
    def _restored(cls, header: dict, arrays: dict[str, np.ndarray]) -> "CodeIndex":
        mean, projection, codes = arrays["mean"], arrays["projection"], arrays["codes"]
        width, bits = projection.shape
        require(mean.shape == (width,) and mean.dtype == projection.dtype == np.float64 and 1 <= bits <= width)
        require(codes.dtype == np.uint8 and codes.shape[1:] == (-(-bits // 8),) and arrays["ids"].dtype == np.int64)
        return cls(width, SortedRows.of_sorted(arrays["ids"], codes), header["fitted_on"], Coder(mean, projection))
