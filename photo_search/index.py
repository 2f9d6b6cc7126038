"""The vectors that are searched: a faiss index built from arrays, saved with a checksum and loaded only if that holds.

    exact   compares the query with every vector
    ivf     compares it with those around the nearest centroids, and misses some of the most similar
    codes   compares binary codes (ITQ) by Hamming distance: a thirtieth of the memory, a much coarser order

The database of the photos is the truth: an index that cannot be loaded is built again from there.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.hashing import itq_projection
from utils.errors import InputError
from utils.files import atomic_write

FORMAT = 2
KINDS = ("exact", "ivf", "codes")
LARGEST_EXACT = 200_000 * 64  # numbers in all vectors: a query compares them in some 6 ms on one core
LISTS_SEARCHED = 64  # of √n lists
VECTORS_PER_LIST = 64  # for k-means; more take longer and gain little
BITS, CODES_FITTED_ON = 64, 50_000  # more vectors change the codes little and take minutes
OUTGROWN = 4  # times as many vectors: then centroids and codes are fitted again
RECALL_QUERIES = 200

Found = tuple[np.ndarray, np.ndarray]


@dataclass
class VectorIndex:
    """Unit vectors under ids. The more similar one is found first, of equally similar ones that with the lower id.

    fitted_on: number of vectors that centroids or codes were fitted on. revision: the state of the database it was built from.
    """

    faiss_index: Any
    kind: str
    fitted_on: int
    bits: int | None = None
    last_id: int = -1
    revision: int = 0

    def __len__(self) -> int:
        return self.faiss_index.ntotal

    @property
    def is_outgrown(self) -> bool:
        """Whether centroids or codes should be fitted again."""
        return self.kind != "exact" and len(self) > OUTGROWN * self.fitted_on

    def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        """ids (n,) int64, ascending and above those before; vectors (n, d) float32. Raises InputError if one is not finite."""
        if len(ids):
            _require_finite(vectors)
            self.faiss_index.add_with_ids(vectors, ids)
            self.last_id = int(ids[-1])

    def clear(self) -> None:
        """Remove all vectors; centroids and codes stay fitted."""
        self.faiss_index.reset()
        self.last_id = -1

    def search(self, queries: np.ndarray, k: int) -> Found:
        """queries (q, d) → ids (q, min(k, n)) and similarity, the cosine or, for codes, 1 - 2 · Hamming distance / bits."""
        _require_finite(queries)
        k = min(k, len(self))
        if self.kind != "codes":
            return self._search_vectors(queries, k)
        distance, ids = self.faiss_index.search(queries, k)
        return _best(ids, 1 - 2 * distance / self.bits, k)

    def _search_vectors(self, queries: np.ndarray, k: int) -> Found:
        """faiss rounds to float32: a few more candidates are compared in float64, and more if others may equal the last."""
        candidates, lists, rounding = k + max(16, k // 2), LISTS_SEARCHED, (queries.shape[1] + 3) * 2.0**-24
        while True:
            how = _faiss().SearchParametersIVF(nprobe=lists) if self.kind == "ivf" else None
            rough, ids, vectors = self.faiss_index.search_and_reconstruct(queries, min(candidates, len(self)), params=how)
            cosine = np.where(ids < 0, -np.inf, (vectors.astype(np.float64) * queries[:, None]).sum(-1)).astype(np.float32)
            best = _best(ids, cosine, k)
            if (best[0] < 0).any():
                lists *= 2  # those searched hold fewer than k
            elif candidates >= len(self) or (best[1][:, -1] > rough[:, -1] + rounding).all():
                return best
            else:
                candidates *= 4

    def recall_at(self, k: int, ids: np.ndarray, vectors: np.ndarray) -> float:
        """The share in [0, 1] of the k most similar that is found, averaged over perturbed copies of 200 of the vectors (n, d).

        Each copy has a random vector of length 1 added: its cosine to the original is some 0.7.
        """
        rng = np.random.default_rng(0)
        sample = vectors[rng.permutation(len(vectors))[:RECALL_QUERIES]]
        queries = unit(sample + unit(rng.standard_normal(sample.shape)))
        return recall(build("exact", ids, vectors).search(queries, k)[0], self.search(queries, k)[0])

    def save(self, path: Path, owner: str) -> None:
        """Write the index and its checksum, which holds for this owner only. Raises InputError if they cannot be written."""
        facts = {name: value for name, value in vars(self).items() if name != "faiss_index"}
        header = json.dumps(facts).encode()
        digest = _digest(owner, header)
        with atomic_write(path) as temporary, temporary.open("wb") as file:

            def write(block: bytes) -> None:
                digest.update(block)
                file.write(block)

            _faiss().write_index(self.faiss_index, _faiss().PyCallbackIOWriter(write))
        with atomic_write(checksum_file(path)) as temporary:
            temporary.write_bytes(digest.hexdigest().encode() + b"\n" + header)


def load(path: Path, owner: str) -> VectorIndex:
    """The index that was saved for this owner.

    faiss trusts what it reads, so it reads nothing before the checksum holds. Raises InputError if that does not hold, or if a
    file cannot be read.
    """
    try:
        expected, _, header = checksum_file(path).read_bytes().partition(b"\n")
        with path.open("rb") as file:
            digest = _digest(owner, header)
            while block := file.read(2**24):
                digest.update(block)
            if digest.hexdigest().encode() != expected:
                raise InputError(f"{path}: does not match its checksum")
            file.seek(0)
            return VectorIndex(_faiss().read_index(_faiss().PyCallbackIOReader(file.read)), **json.loads(header))
    except (OSError, RuntimeError) as error:  # RuntimeError: written by a newer faiss
        raise InputError(f"{path}: cannot be read ({error})") from error


def checksum_file(path: Path) -> Path:
    return path.with_suffix(".checksum")


def choose_kind(count: int, width: int) -> str:
    """ "exact" where a query of so many vectors takes a few milliseconds, "ivf" beyond."""
    return "exact" if count * width <= LARGEST_EXACT else "ivf"


def build(kind: str, ids: np.ndarray, vectors: np.ndarray) -> VectorIndex:
    """An index of one of KINDS, fitted on unit vectors (n, d) float32, n > 0, that holds them under ascending ids (n,) int64.

    Raises InputError if a vector is not finite.
    """
    _require_finite(vectors)
    faiss, bits = _faiss(), min(BITS, vectors.shape[1]) if kind == "codes" else None
    if kind == "ivf":
        empty = _lists(vectors)
    else:
        empty = faiss.IndexIDMap2(_codes(vectors, bits) if bits else faiss.IndexFlatIP(vectors.shape[1]))
    index = VectorIndex(empty, kind, len(ids), bits)
    index.add(ids, vectors)
    return index


def _lists(vectors: np.ndarray) -> Any:
    faiss, (count, width) = _faiss(), vectors.shape
    lists = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, max(1, round(count**0.5)), faiss.METRIC_INNER_PRODUCT)
    lists.cp.seed, lists.cp.spherical = 50, True
    lists.cp.min_points_per_centroid, lists.cp.max_points_per_centroid = 1, VECTORS_PER_LIST
    lists.train(vectors)
    return lists


def _codes(vectors: np.ndarray, bits: int) -> Any:
    """The mean is fixed, so that a query that comes alone gets the code it would get among others."""
    faiss, width = _faiss(), vectors.shape[1]
    sample = vectors[np.random.default_rng(50).permutation(len(vectors))[:CODES_FITTED_ON]].astype(np.float64)
    projection = itq_projection(sample - sample.mean(0), bits, 50)
    linear = faiss.LinearTransform(width, bits, True)
    faiss.copy_array_to_vector(projection.T.astype(np.float32).ravel(), linear.A)
    faiss.copy_array_to_vector((-sample.mean(0) @ projection).astype(np.float32), linear.b)
    linear.is_trained = True
    return faiss.IndexPreTransform(linear, faiss.IndexLSH(bits, bits, False, False))


def recall(expected: np.ndarray, found: np.ndarray) -> float:
    """The share of expected ids (q, k) that are in the same row of found (q, any)."""
    return float(np.mean([np.isin(row, other).mean() for row, other in zip(expected, found, strict=True)]))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows (n, d) divided by their length, float32."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _best(ids: np.ndarray, similarity: np.ndarray, k: int) -> Found:
    """The first k of each row, by similarity, then by id."""
    order = np.lexsort((ids, -similarity), axis=-1)[:, :k]
    return np.take_along_axis(ids, order, 1), np.take_along_axis(similarity, order, 1)


def _require_finite(vectors: np.ndarray) -> None:
    if not np.isfinite(vectors).all():
        raise InputError("an embedding holds NaN or infinity; look at the checkpoint that it was made with")


def _digest(owner: str, header: bytes) -> Any:
    return hashlib.blake2b(f"{FORMAT} {owner}\n".encode() + header + b"\n")


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise InputError("an index of photos needs faiss: pip install faiss-cpu") from error
    return faiss
