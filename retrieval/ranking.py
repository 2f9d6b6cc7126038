"""Rank a gallery for each query by Euclidean or Hamming distance, a block of queries at a time.

The order is always the same: nearer first; at equal distance the lower gallery index first.

A CPU ranks one block per thread in reused buffers, with NumPy: it needs no PyTorch, whose import takes as long as a ranking.
`retrieval.gpu_ranking` ranks on a GPU.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from utils.cores import compute_threads
from utils.errors import InputError

CPU_PAIRS = 2**24  # in the blocks of all threads together: some 24 bytes each
CPU_BLOCK_PAIRS = 2**20  # in the block of one thread: with fewer, calls cost more than arithmetic; more gains nothing
CACHED_PAIRS = 2**16  # Hamming distances, their order and temporaries of this many pairs fit into a core's cache
_LARGEST_SQUARE = 1e300  # squared length of a row: distances stay finite
_MOST_DISTANCE_BITS = 36  # mantissa bits of a squared distance that a key keeps: the bits cut must cover the rounding error
_MIN_DISTANCE_BITS = 30  # mantissa bits of a squared distance that a key must keep

Array = Any  # np.ndarray or torch.Tensor
Classes = Sequence[tuple[slice, slice]]  # (rows of a block, columns of their positives), in order; all rows of the block


class Ranker:
    """Call with (start, stop, classes, k) to rank the gallery (m photos) for a block of r queries. Returns

    - the ascending positions of all positives in the flattened (r, m) rankings, int64
    - the places of the k nearest photos, (r, min(k, m)) int32

    `place` (m,), a permutation of 0 to m - 1, decides between equal distances; the default is the gallery's order. The sets must
    have passed `check_sets`.
    """

    on_gpu = False

    def __init__(self, queries: int, photos: int, place: np.ndarray | None):
        self.queries, self.photos = queries, photos
        self.place = np.arange(photos) if place is None else place.astype(np.int64)
        self._buffers = threading.local()

    def __call__(self, start: int, stop: int, classes: Classes, k: int) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError

    def distances(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, m) integers, by place, of a ranking by Hamming distance."""
        raise NotImplementedError

    def block_rows(self) -> int:
        """Number of queries in a block that suits the device."""
        return max(1, min(CPU_BLOCK_PAIRS, CPU_PAIRS // compute_threads()) // self.photos)

    def _buffer(self, name: str, shape: tuple[int, int], dtype: Any) -> np.ndarray:
        """Reused memory of this thread: new memory for every block would cost more than the arithmetic."""
        buffer = getattr(self._buffers, name, None)
        if buffer is None or len(buffer) < shape[0]:
            buffer = np.empty(shape, dtype)
            setattr(self._buffers, name, buffer)
        return buffer[: shape[0]]


class EuclideanRanker(Ranker):
    """Sorts integers ("keys") of distance and place: key = distance | 2 * place | free lowest bit, which marks the positives.

    Keys never repeat, so any sort of them is the stable ranking, and sorting plain integers is several times faster than a
    stable argsort.

    The high bits of a key are those of the squared float64 distance, cut to 36 mantissa bits (fewer above 32,768 photos, never
    below 30; float32 features have 24). Before the cut, the error is about (d + 2)·2⁻⁵⁰ of the squared radius of both sets
    around the gallery's mean, so nearly collapsed features keep their order too. Distances that agree in the kept bits are
    equal; identical gallery rows are always equal, because their distance is computed once.
    """

    def __init__(self, query: np.ndarray, gallery: np.ndarray, place: np.ndarray | None = None):
        super().__init__(len(query), len(gallery), place)
        self.low_bits = euclidean_low_bits(self.photos)
        gallery = gallery.astype(np.float64, copy=False)
        rows, self._repeats = without_repeats(gallery)
        left, right = euclidean_factors(np, query.astype(np.float64, copy=False), rows, gallery.mean(0))
        self._query, self._rows = left, np.ascontiguousarray(right)

    def __call__(self, start: int, stop: int, classes: Classes, k: int) -> tuple[np.ndarray, np.ndarray]:
        keys = self._keys(start, stop)
        for rows, columns in classes:
            keys[rows, columns] += 1
        keys.sort(axis=1)
        flags = self._buffer("flags", keys.shape, np.uint8)
        np.copyto(flags, keys, casting="unsafe")  # the lowest byte of each
        flags &= 1
        places = (keys[:, :k] & ((1 << self.low_bits) - 1)) >> 1
        return np.flatnonzero(flags.view(bool)), places.astype(np.int32)

    def _keys(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, m) int64, not sorted, in a buffer of this thread."""
        shape = (stop - start, self._rows.shape[1])
        squared = np.matmul(self._query[start:stop], self._rows, out=self._buffer("squared", shape, np.float64))
        if self._repeats is not None:
            whole = self._buffer("whole", (len(squared), self.photos), np.float64)
            squared = np.take(squared, self._repeats, axis=1, out=whole, mode="clip")  # with "raise" NumPy would copy `out`
        keys = squared.view(np.int64)  # the bit patterns of non-negative floats are ordered as the floats are
        keys &= (2**63 - 1) ^ ((1 << self.low_bits) - 1)
        keys += 2 * self.place
        return keys


class HammingRanker(Ranker):
    """Orders exact integer distances, counted in packed bits, by a radix sort (NumPy's stable sort of 8 and 16 bits)."""

    def __init__(self, query: np.ndarray, gallery: np.ndarray, place: np.ndarray | None = None):
        super().__init__(len(query), len(gallery), place)
        self.bits = query.shape[1]
        self._query, self._rows = _words(query), _words(gallery)
        if place is not None:
            self._rows = np.ascontiguousarray(self._rows[:, np.argsort(place)])  # by place: the stable order is then the ranking

    def __call__(self, start: int, stop: int, classes: Classes, k: int) -> tuple[np.ndarray, np.ndarray]:
        flags = self._buffer("flags", (stop - start, self.photos), bool)
        places = np.empty((stop - start, min(k, self.photos)), np.int32)
        step = max(1, CACHED_PAIRS // self.photos)
        for rows, columns in classes:
            is_positive = np.zeros(self.photos, dtype=bool)
            is_positive[self.place[columns]] = True
            for low in range(rows.start, rows.stop, step):
                part = slice(low, min(low + step, rows.stop))
                order = self.distances(start + part.start, start + part.stop).argsort(axis=1, kind="stable")
                places[part] = order[:, :k]
                np.take(is_positive, order, out=flags[part], mode="clip")  # with "raise" NumPy would copy `out`
        return np.flatnonzero(flags), places

    def distances(self, start: int, stop: int) -> np.ndarray:
        shape = (stop - start, self.photos)
        differing = self._buffer("differing", shape, np.uint64)
        total = self._buffer("total", shape, np.min_scalar_type(self.bits))
        for word, (query, rows) in enumerate(zip(self._query, self._rows, strict=True)):
            np.bitwise_xor(query[start:stop, None], rows, out=differing)
            if word == 0:
                np.bitwise_count(differing, out=total)
            else:
                total += np.bitwise_count(differing)
        return total


def ranker_of(distance: str, query: Array, gallery: Array, place: np.ndarray | None = None) -> Ranker:
    """distance: "euclidean" or "hamming"; the sets are on a GPU, and ranked there, or on a CPU."""
    if ranks_on_gpu(query):
        from retrieval.gpu_ranking import GpuRanker

        return GpuRanker(distance, query, gallery, place)
    kind = EuclideanRanker if distance == "euclidean" else HammingRanker
    return kind(as_numpy(query), as_numpy(gallery), place)


def ranks_on_gpu(array: Array) -> bool:
    return not isinstance(array, np.ndarray) and array.device.type == "cuda"


def as_numpy(array: Array) -> np.ndarray:
    """The array on the CPU; bfloat16, which NumPy lacks, as float32."""
    if isinstance(array, np.ndarray):
        return array
    array = array.detach().cpu()
    return (array.float() if array.is_floating_point() and array.itemsize < 4 else array).numpy()


def map_blocks(
    rank: Callable[[int, int], Any], ranker: Ranker, rows: int | None = None, then: Callable[[Any], Any] = lambda found: found
) -> Iterator[Any]:
    """then(rank(start, stop)) of each block of queries, in order; rows: queries in a block, None: as suits the device.

    On a CPU each thread calls both. On a GPU this thread calls `rank`, one block after the other, while others call `then`.
    """
    rows = rows or ranker.block_rows()
    bounds = [(start, min(start + rows, ranker.queries)) for start in range(0, ranker.queries, rows)]
    threads = compute_threads()
    # each block has its thread; more threads inside a matrix product would only compete with them
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(min(threads, len(bounds))) as pool:
        if not ranker.on_gpu:
            yield from pool.map(lambda bound: then(rank(*bound)), bounds)
            return
        running: deque[Future] = deque()
        for bound in bounds:
            running.append(pool.submit(then, rank(*bound)))
            if len(running) > 2 * threads:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def euclidean_low_bits(photos: int) -> int:
    """Low bits of a key that hold 2 * place, or more: the bits of a squared distance that are cut."""
    low_bits = (2 * photos - 1).bit_length()
    if 52 - low_bits < _MIN_DISTANCE_BITS:
        raise InputError(f"a gallery of {photos} rows is too large to rank; use at most {2**21}")
    return max(low_bits, 52 - _MOST_DISTANCE_BITS)


def euclidean_factors(library: Any, query: Array, rows: Array, centre: Array) -> tuple[Array, Array]:
    """(n, d + 2) and (d + 2, m) float64, whose product is the squared distance between query (n, d) and rows (m, d).

    library: numpy or torch.
    """
    # distances do not depend on the origin, but rounding errors do
    query, rows = query - centre, rows - centre
    # |q - g|² as one product: (-2q, |q|² + bias, 1) · (g, 1, |g|²); the bias exceeds any rounding error, so that no distance
    # is negative or just below a round number that equal distances reach
    squares = [(array * array).sum(1)[:, None] for array in (query, rows)]
    radius = squares[0].max() ** 0.5 + squares[1].max() ** 0.5
    bias = 4 * (query.shape[1] + 2) * 2.0**-52 * radius**2
    ones = [library.ones_like(square) for square in squares]
    left = library.concatenate([-2 * query, squares[0] + bias, ones[0]], 1)
    return left, library.concatenate([rows, ones[1], squares[1]], 1).T


def without_repeats(gallery: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """The distinct rows, and the number of each gallery row's distinct row; the gallery and None if no row repeats."""
    values = np.ascontiguousarray(gallery, dtype=np.float64) + 0.0  # -0.0 and 0.0 have different bytes
    if len(np.unique(_hashes(values))) == len(gallery):
        return gallery, None
    as_bytes = values.view(np.dtype((np.void, values.itemsize * values.shape[1]))).reshape(-1)
    _, first, repeats = np.unique(as_bytes, return_index=True, return_inverse=True)
    return (gallery, None) if len(first) == len(gallery) else (gallery[first], repeats.reshape(-1))


def _hashes(rows: np.ndarray) -> np.ndarray:
    """(m,) uint64 of (m, d) float64, the same for equal rows; comparing these is much faster than comparing rows."""
    words = rows.view(np.uint64)
    factors = np.random.default_rng(0).integers(2**63, size=rows.shape[1], dtype=np.uint64)
    return (words ^ (words >> np.uint64(32))) @ (2 * factors + 1)  # the low half of a round number is zero


def check_sets(distance: str, **sets: Array) -> None:
    """Raise InputError on an unknown distance and on arrays that are empty, not finite, not codes, or of different widths."""
    if distance not in ("euclidean", "hamming"):
        raise InputError(f"distance {distance!r} is unknown; use 'euclidean' or 'hamming'")
    for name, array in sets.items():
        if array.ndim != 2 or 0 in array.shape:
            raise InputError(f"{name} has shape {tuple(array.shape)}; give one row of numbers per image: (n, d), at least one")
        (_require_finite if distance == "euclidean" else _require_codes)(name, as_numpy(array))
    (first, width), *others = ((name, array.shape[1]) for name, array in sets.items())
    for name, other in others:
        if other != width:
            raise InputError(f"{first} rows have {width} numbers, {name} rows {other}; embed both with one model")


def _require_finite(name: str, array: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        is_usable = np.square(array, dtype=np.float64).sum(1) < _LARGEST_SQUARE  # NaN and infinity survive the sum
    if not is_usable.all():
        row = int(is_usable.argmin())
        fault = "numbers too large to square" if np.isfinite(array[row]).all() else "NaN or infinity"
        raise InputError(f"{name} row {row} holds {fault}; look at the model or file that made it")


def _require_codes(name: str, codes: np.ndarray) -> None:
    if codes.dtype != bool and (codes.dtype != np.uint8 or codes.max() > 1):
        raise InputError(f"{name} codes must be bool, or uint8 of 0 and 1; these are {codes.dtype}")


def _words(codes: np.ndarray) -> np.ndarray:
    """Codes (n, bits) of bool, or 0 and 1, packed into uint64 words, (words, n)."""
    packed = np.packbits(codes, axis=1)
    padded = np.zeros((len(packed), -(-packed.shape[1] // 8) * 8), dtype=np.uint8)
    padded[:, : packed.shape[1]] = packed
    return np.ascontiguousarray(padded.view(np.uint64).T)
