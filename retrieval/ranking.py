"""Rank a gallery for each query by Euclidean or Hamming distance, a chunk of queries at a time.

One rule of order everywhere: nearer first; at equal distance the lower gallery index first.

Distance and gallery index are packed into one integer (a "key"), distance in the high bits. Keys never repeat, so any
sort of them is the stable ranking, and sorting plain integers is several times faster than a stable argsort.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from utils.errors import InputError

CHUNK_BYTES = 256 * 2**20  # all temporaries of one chunk together stay below this
_BYTES_PER_PAIR = 32  # key, its distance, relevance and what the sort needs, with room to spare
_CACHED_PAIRS = 2**20  # smaller chunks than memory allows: the passes over a chunk then mostly hit the CPU's cache
_INT32_KEYS = 2**31  # Hamming keys below this sort as int32, twice as fast
_MIN_DISTANCE_BITS = 30  # mantissa bits of a float64 distance that a key must keep


def top_k(query, gallery, k, distance="euclidean"):
    """Indices of the k nearest gallery rows of each query, nearest first, equal distances by lower index.

    query (n, d), gallery (m, d): real embeddings for "euclidean", bool or 0/1 uint8 codes for "hamming"; any device.
    Returns (n, min(k, m)) int64 on the CPU. Raises InputError on bad arrays or k < 1.
    """
    if k < 1:
        raise InputError(f"top_k: k is {k}; ask for at least one photo")
    keys_of = GalleryKeys(distance, query, gallery)
    found = torch.empty((keys_of.queries, min(k, keys_of.size)), dtype=torch.int64)
    for start, stop in chunk_bounds(keys_of.queries, keys_of.size):
        nearest = keys_of(start, stop).topk(found.shape[1], dim=1, largest=False, sorted=True).values
        found[start:stop] = keys_of.gallery_index(nearest).cpu()
    return found


def chunk_bounds(queries, gallery_size, rows=None):
    """Yield (start, stop) over the queries; `rows` a chunk, or as many as CHUNK_BYTES and the cache suggest."""
    if rows is None:
        rows = max(1, min(CHUNK_BYTES // _BYTES_PER_PAIR, _CACHED_PAIRS) // gallery_size)
    for start in range(0, queries, rows):
        yield start, min(start + rows, queries)


class GalleryKeys:
    """Call with (start, stop) for the unsorted keys of these queries against the whole gallery.

    key = distance | 2 * gallery index | free lowest bit, which a caller may set to mark a pair (see `ranked_marks`).

    Euclidean: the key's high bits are those of the squared float64 distance, rounded to at least 30 mantissa bits (36
    for 17,000 photos; float32 features have 24). Distances that agree to that many bits are equal; identical gallery
    rows are always equal, because their distance is computed once. Hamming: exact integers.
    """

    def __init__(self, distance, query, gallery):
        if distance not in ("euclidean", "hamming"):
            raise InputError(f"distance {distance!r} is unknown; use 'euclidean' or 'hamming'")
        _check_shapes(query, gallery)
        device = query.device if query.device.type == "cuda" else torch.device("cpu")
        self.queries, self.size = len(query), len(gallery)
        self.low_bits = (2 * self.size - 1).bit_length()
        self._index = 2 * torch.arange(self.size, device=device)
        prepare = self._prepare_euclidean if distance == "euclidean" else self._prepare_hamming
        prepare(query.to(device), gallery.to(device))

    def __call__(self, start, stop):
        """(stop - start, m) int64 or int32 keys."""
        return self._keys(self._query[start:stop])

    def gallery_index(self, keys):
        """The gallery indices packed in keys, int64, same shape."""
        return (keys.long() & ((1 << self.low_bits) - 1)) >> 1

    def _prepare_euclidean(self, query, gallery):
        if 52 - self.low_bits < _MIN_DISTANCE_BITS:
            raise InputError(f"a gallery of {self.size} rows is too large to rank; use at most {2**21}")
        self._query = _real("query", query)
        rows, repeats = np.unique(_real("gallery", gallery).cpu().numpy(), axis=0, return_inverse=True)
        if len(rows) == self.size:
            self._rows, self._repeats = _real("gallery", gallery), None
        else:
            self._rows = torch.from_numpy(rows).to(query.device)
            self._repeats = torch.from_numpy(repeats.reshape(-1)).to(query.device)
        self._square = self._rows.square().sum(1)
        self._keys = self._euclidean_keys

    def _euclidean_keys(self, query):
        squared = query.square().sum(1, keepdim=True) + self._square
        squared.addmm_(query, self._rows.T, alpha=-2).clamp_(min=0)
        if self._repeats is not None:
            squared = squared[:, self._repeats]
        # the bit patterns of non-negative floats are ordered as the floats are
        keys = squared.view(torch.int64)
        keys += 1 << (self.low_bits - 1)  # round to nearest: rounding noise around a short number stays on one side
        keys &= (2**63 - 1) ^ ((1 << self.low_bits) - 1)
        keys += self._index
        return keys

    def _prepare_hamming(self, query, gallery):
        self._query, self._rows = _signs("query", query), _signs("gallery", gallery)
        self.bits = query.shape[1]
        small = (self.bits + 1) << self.low_bits < _INT32_KEYS
        self._index = self._index.to(torch.int32 if small else torch.int64)
        self._keys = self._hamming_keys

    def _hamming_keys(self, query):
        agreement = query @ self._rows.T  # bits - 2 * distance, exact in float32 below 2**24 bits
        keys = agreement.to(self._index.dtype)
        keys.neg_().add_(self.bits).bitwise_left_shift_(self.low_bits - 1)  # twice the distance, hence one less
        keys += self._index
        return keys


def ranked_marks(keys, marks):
    """The boolean marks (r, m) of the pairs, brought into rank order. Uses up `keys`."""
    keys += marks
    return (sort_rows(keys) & 1).bool()


def sort_rows(keys):
    """Sort each row ascending. On the CPU in place by NumPy's vectorised integer sort, one share of rows a thread."""
    if keys.device.type != "cpu":
        return keys.sort(dim=1).values
    shares = np.array_split(keys.numpy(), max(1, min(torch.get_num_threads(), len(keys))))
    with ThreadPoolExecutor(len(shares)) as pool:
        list(pool.map(lambda share: share.sort(axis=1), shares))
    return keys


def _check_shapes(query, gallery):
    for name, array in (("query", query), ("gallery", gallery)):
        if array.ndim != 2:
            raise InputError(f"{name} has shape {tuple(array.shape)}; give one row per image: (n, d)")
        if len(array) == 0:
            raise InputError(f"the {name} set is empty; give at least one row")
    if query.shape[1] != gallery.shape[1]:
        raise InputError(f"query rows have {query.shape[1]} numbers, gallery rows {gallery.shape[1]}; embed both with one model")


def _real(name, array):
    array = array.double()
    if not array.isfinite().all():
        row = (~array.isfinite()).any(1).nonzero()[0].item()
        raise InputError(f"{name} row {row} holds NaN or infinity; look at the model or file that made it")
    return array


def _signs(name, codes):
    """Bool or 0/1 codes (n, bits) as float32 of -1 and 1."""
    if codes.dtype != torch.bool and (codes.dtype != torch.uint8 or codes.max() > 1):
        raise InputError(f"{name} codes must be bool, or uint8 of 0 and 1; these are {codes.dtype}")
    return codes.float() * 2 - 1
