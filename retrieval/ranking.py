"""Rank a gallery for each query by Euclidean or Hamming distance, a block of queries at a time.

The order is always the same: nearer first; at equal distance the lower gallery index first.

Distance and gallery index are packed into one integer (a "key"), distance in the high bits. Keys never repeat, so any sort of
them is the stable ranking, and sorting plain integers is several times faster than a stable argsort.

A CPU ranks one block per thread in reused buffers; a GPU ranks one block after the other.
"""

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from utils.errors import InputError

GPU_BLOCK_BYTES = 256 * 2**20  # all temporaries of one block together stay below this
_GPU_BYTES_PER_PAIR = 32  # key, its distance and what the sort needs, with room to spare
CPU_PAIRS = 2**24  # in the blocks of all threads together: some 24 bytes each
CPU_BLOCK_PAIRS = 2**20  # in the block of one thread: with fewer, calls cost more than arithmetic; more gains nothing
INT32_KEYS = 2**31  # Hamming keys below this sort as int32, twice as fast
_LARGEST_SQUARE = 1e300  # squared length of a row: distances stay finite
_MOST_DISTANCE_BITS = 36  # mantissa bits of a squared distance that a key keeps: the bits cut must cover the rounding error
_MIN_DISTANCE_BITS = 30  # mantissa bits of a squared distance that a key must keep
_LOWEST_BYTE = 0 if sys.byteorder == "little" else -1

Array = Any  # np.ndarray on the CPU, torch.Tensor on a GPU; their common operations are used


class GalleryKeys:
    """Call with (start, stop) to get the unsorted keys of these queries against the whole gallery.

    key = distance | 2 * place | free lowest bit, which a caller may set to mark a pair. `place` (m,), a permutation of 0 to
    m - 1, decides between equal distances; the default is the gallery's order. The sets must have passed `check_sets`.

    Euclidean: the high bits of a key are those of the squared float64 distance, cut to 36 mantissa bits (fewer above 32,768
    photos, never below 30; float32 features have 24). Before the cut, the error is about (d + 2)·2⁻⁵⁰ of the squared radius of
    both sets around the gallery's mean, so nearly collapsed features keep their order too. Distances that agree in the kept
    bits are equal; identical gallery rows are always equal, because their distance is computed once.

    Hamming: exact integers, counted in packed bits; on a GPU as products of -1 and 1, whose float32 sums are exact integers.
    """

    def __init__(self, distance: str, query: torch.Tensor, gallery: torch.Tensor, place: np.ndarray | None = None):
        self.device = query.device if query.device.type == "cuda" else torch.device("cpu")
        self.uses_numpy = suits_numpy(self.device)
        self.queries, self.size = len(query), len(gallery)
        self.low_bits = (2 * self.size - 1).bit_length()
        self._place: Array = 2 * (np.arange(self.size) if place is None else place).astype(np.int64)
        self._buffers = threading.local()
        query, gallery = query.detach().to(self.device), gallery.detach().to(self.device)
        if distance == "euclidean":
            self._prepare_euclidean(query.double(), gallery.double())
        else:
            self._prepare_hamming(query.bool(), gallery.bool())

    def __call__(self, start: int, stop: int) -> Array:
        """(stop - start, m) int64 or int32 keys; on a CPU in a buffer of this thread, valid until its next call."""
        return self._keys(start, stop)

    def nearest(self, sorted_keys: Array, k: int) -> np.ndarray:
        """(r, min(k, m)) int32: the places packed in the first k keys of each row."""
        places = (sorted_keys[:, :k] & ((1 << self.low_bits) - 1)) >> 1
        return (places if isinstance(places, np.ndarray) else places.cpu().numpy()).astype(np.int32)

    def marked(self, sorted_keys: Array) -> np.ndarray:
        """Positions in the flattened (r, m) of the keys whose lowest bit is set."""
        if not isinstance(sorted_keys, np.ndarray):
            return (sorted_keys & 1).flatten().nonzero()[:, 0].cpu().numpy()
        flags = self._buffer("flags", sorted_keys.shape, np.uint8)
        lowest_byte = sorted_keys.view(np.uint8)[:, _LOWEST_BYTE :: sorted_keys.itemsize]
        return np.flatnonzero(np.bitwise_and(lowest_byte, 1, out=flags).view(bool))

    def block_rows(self) -> int:
        """Number of queries in a block that suits the device."""
        if self.uses_numpy:
            pairs = min(CPU_BLOCK_PAIRS, CPU_PAIRS // torch.get_num_threads())
        else:
            pairs = GPU_BLOCK_BYTES // _GPU_BYTES_PER_PAIR
        return max(1, min(pairs // self.size, self.queries))

    def _prepare_euclidean(self, query: torch.Tensor, gallery: torch.Tensor) -> None:
        if 52 - self.low_bits < _MIN_DISTANCE_BITS:
            raise InputError(f"a gallery of {self.size} rows is too large to rank; use at most {2**21}")
        self.low_bits = max(self.low_bits, 52 - _MOST_DISTANCE_BITS)
        self._repeats: Array
        rows, self._repeats = _without_repeats(gallery)
        # distances do not depend on the origin, but rounding errors do
        query, rows = query - gallery.mean(0), rows - gallery.mean(0)
        # |q - g|² as one product: (-2q, |q|² + bias, 1) · (g, 1, |g|²); the bias exceeds any rounding error, so that no distance
        # is negative or just below a round number that equal distances reach
        squares = [array.square().sum(1, keepdim=True) for array in (query, rows)]
        radius = squares[0].max().sqrt() + squares[1].max().sqrt()
        bias = 4 * (query.shape[1] + 2) * 2.0**-52 * radius.square()
        ones = [torch.ones_like(square) for square in squares]
        self._query: Array = torch.cat([-2 * query, squares[0] + bias, ones[0]], dim=1)
        self._rows: Array = torch.cat([rows, ones[1], squares[1]], dim=1).T.contiguous()
        if self.uses_numpy:
            self._query, self._rows = self._query.numpy(), self._rows.numpy()
        else:
            self._place = torch.from_numpy(self._place).to(self.device)
            if self._repeats is not None:
                self._repeats = torch.from_numpy(self._repeats).to(self.device)
        self._keys = self._euclidean_keys

    def _euclidean_keys(self, start: int, stop: int) -> Array:
        library, int64 = (np, np.int64) if self.uses_numpy else (torch, torch.int64)
        shape = (stop - start, self._rows.shape[1])
        squared = library.matmul(self._query[start:stop], self._rows, out=self._buffer("squared", shape, np.float64))
        if self._repeats is not None:
            squared = self._repeated(squared)
        keys = squared.view(int64)  # the bit patterns of non-negative floats are ordered as the floats are
        keys &= (2**63 - 1) ^ ((1 << self.low_bits) - 1)
        keys += self._place
        return keys

    def _repeated(self, squared: Array) -> Array:
        if not self.uses_numpy:
            return squared[:, self._repeats]
        whole = self._buffer("whole", (len(squared), self.size), np.float64)
        return np.take(squared, self._repeats, axis=1, out=whole, mode="clip")  # with "raise" NumPy would copy `out`

    def _prepare_hamming(self, query: torch.Tensor, gallery: torch.Tensor) -> None:
        self.bits = query.shape[1]
        is_small = (self.bits + 1) << self.low_bits < INT32_KEYS
        self._place = self._place.astype(np.int32 if is_small else np.int64)
        if self.uses_numpy:
            self._query, self._rows = _words(query), _words(gallery)
            self._keys = self._hamming_keys
        else:
            self._place = torch.from_numpy(self._place).to(self.device)
            self._query, self._rows = query.float() * 2 - 1, (gallery.float() * 2 - 1).T.contiguous()
            self._keys = self._hamming_keys_on_gpu

    def _hamming_keys(self, start: int, stop: int) -> np.ndarray:
        shape = (stop - start, self.size)
        differing = self._buffer("differing", shape, np.uint64)
        count = self._buffer("count", shape, np.uint8)
        keys = self._buffer("keys", shape, self._place.dtype)
        for word, (query, rows) in enumerate(zip(self._query, self._rows, strict=True)):
            np.bitwise_xor(query[start:stop, None], rows, out=differing)
            np.bitwise_count(differing, out=count)
            if word == 0:
                keys[...] = count
            else:
                keys += count
        keys <<= self.low_bits
        keys += self._place
        return keys

    def _hamming_keys_on_gpu(self, start: int, stop: int) -> torch.Tensor:
        with torch.autocast(self.device.type, enabled=False):
            agreement = self._query[start:stop] @ self._rows  # bits - 2 * distance: integers, exact below 2**24 bits
        keys = agreement.to(self._place.dtype)
        keys.neg_().add_(self.bits).bitwise_left_shift_(self.low_bits - 1)  # twice the distance, hence one less
        keys += self._place
        return keys

    def _buffer(self, name: str, shape: tuple[int, int], dtype: Any) -> Array:
        """Reused memory of this thread, None for torch: new memory for every block would cost more than the arithmetic."""
        if not self.uses_numpy:
            return None  # torch keeps freed GPU memory by itself
        buffer = getattr(self._buffers, name, None)
        if buffer is None or len(buffer) < shape[0]:
            buffer = np.empty(shape, dtype)
            setattr(self._buffers, name, buffer)
        return buffer[: shape[0]]


def map_blocks(
    rank: Callable[[int, int], Any], keys: GalleryKeys, rows: int | None = None, then: Callable[[Any], Any] = lambda found: found
) -> Iterator[Any]:
    """then(rank(start, stop)) of each block of queries, in order; rows: queries in a block, None: as suits the device.

    On a CPU each thread calls both. On a GPU this thread calls `rank`, one block after the other, while others call `then`.
    """
    rows = rows or keys.block_rows()
    bounds = [(start, min(start + rows, keys.queries)) for start in range(0, keys.queries, rows)]
    threads = torch.get_num_threads()
    # each block has its thread; more threads inside a matrix product would only compete with them
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(min(threads, len(bounds))) as pool:
        if keys.uses_numpy:
            yield from pool.map(lambda bound: then(rank(*bound)), bounds)
            return
        running: deque[Future] = deque()
        for bound in bounds:
            running.append(pool.submit(then, rank(*bound)))
            if len(running) > 2 * threads:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def sort_rows(keys: Array) -> Array:
    """Each row ascending; on the CPU in place."""
    if isinstance(keys, np.ndarray):
        keys.sort(axis=1)
        return keys
    return keys.sort(dim=1).values


def suits_numpy(device: torch.device) -> bool:
    """NumPy sorts integers faster than PyTorch does on a CPU."""
    return device.type == "cpu"


def _without_repeats(gallery: torch.Tensor) -> tuple[torch.Tensor, np.ndarray | None]:
    """The distinct rows, and the number of each gallery row's distinct row; the gallery and None if no row repeats."""
    values = gallery.cpu().numpy() + 0.0  # -0.0 and 0.0 have different bytes
    as_bytes = np.ascontiguousarray(values).view(np.dtype((np.void, values.itemsize * values.shape[1]))).reshape(-1)
    _, first, repeats = np.unique(as_bytes, return_index=True, return_inverse=True)
    if len(first) == len(gallery):
        return gallery, None
    return gallery[torch.from_numpy(first).to(gallery.device)], repeats.reshape(-1)


def check_sets(distance: str, **sets: torch.Tensor) -> None:
    """Raise InputError on an unknown distance and on arrays that are empty, not finite, not codes, or of different widths."""
    if distance not in ("euclidean", "hamming"):
        raise InputError(f"distance {distance!r} is unknown; use 'euclidean' or 'hamming'")
    for name, array in sets.items():
        if array.ndim != 2 or 0 in array.shape:
            raise InputError(f"{name} has shape {tuple(array.shape)}; give one row of numbers per image: (n, d), at least one")
        (_require_finite if distance == "euclidean" else _require_codes)(name, array)
    (first, width), *others = ((name, array.shape[1]) for name, array in sets.items())
    for name, other in others:
        if other != width:
            raise InputError(f"{first} rows have {width} numbers, {name} rows {other}; embed both with one model")


def _require_finite(name: str, array: torch.Tensor) -> None:
    is_usable = array.double().square().sum(1) < _LARGEST_SQUARE  # NaN and infinity survive the sum
    if not is_usable.all():
        row = int((~is_usable).nonzero()[0])
        fault = "numbers too large to square" if array[row].isfinite().all() else "NaN or infinity"
        raise InputError(f"{name} row {row} holds {fault}; look at the model or file that made it")


def _require_codes(name: str, codes: torch.Tensor) -> None:
    if codes.dtype != torch.bool and (codes.dtype != torch.uint8 or codes.max() > 1):
        raise InputError(f"{name} codes must be bool, or uint8 of 0 and 1; these are {codes.dtype}")


def _words(codes: torch.Tensor) -> np.ndarray:
    """Bool codes (n, bits) packed into uint64 words, (words, n)."""
    packed = np.packbits(codes.numpy(), axis=1)
    padded = np.zeros((len(packed), -(-packed.shape[1] // 8) * 8), dtype=np.uint8)
    padded[:, : packed.shape[1]] = packed
    return np.ascontiguousarray(padded.view(np.uint64).T)
