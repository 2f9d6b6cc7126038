"""Ranking on a GPU with PyTorch: `retrieval.ranking` says what a ranker returns."""

import numpy as np
import torch

from retrieval.ranking import Classes, Ranker, euclidean_factors, euclidean_low_bits, without_repeats

GPU_BLOCK_BYTES = 256 * 2**20  # all temporaries of one block together stay below this
_BYTES_PER_PAIR = 32  # key, its distance and what the sort needs, with room to spare
INT32_KEYS = 2**31  # Hamming keys below this sort as int32, twice as fast


class GpuRanker(Ranker):
    """Sorts the keys that `EuclideanRanker` describes; those of Hamming distances hold them as integers.

    Hamming distances are products of -1 and 1, whose float32 sums are exact integers.
    """

    on_gpu = True

    def __init__(self, distance: str, query: torch.Tensor, gallery: torch.Tensor, place: np.ndarray | None = None):
        super().__init__(len(query), len(gallery), place)
        self.is_euclidean, self.bits = distance == "euclidean", query.shape[1]
        prepare = self._prepare_euclidean if self.is_euclidean else self._prepare_hamming
        tags = prepare(query.detach(), gallery.detach().to(query.device))
        self._tags = torch.from_numpy(tags).to(query.device)

    def __call__(self, start: int, stop: int, classes: Classes, k: int) -> tuple[np.ndarray, np.ndarray]:
        keys = self._keys(start, stop)
        for rows, columns in classes:
            keys[rows, columns] += 1
        keys = keys.sort(dim=1).values
        places = (keys[:, :k] & ((1 << self.low_bits) - 1)) >> 1
        return (keys & 1).flatten().nonzero()[:, 0].cpu().numpy(), places.int().cpu().numpy()

    def distances(self, start: int, stop: int) -> np.ndarray:
        keys = self._keys(start, stop)
        return (keys >> self.low_bits).cpu().numpy()

    def block_rows(self) -> int:
        return max(1, GPU_BLOCK_BYTES // _BYTES_PER_PAIR // self.photos)

    def _keys(self, start: int, stop: int) -> torch.Tensor:
        """(stop - start, m) int64 or int32, not sorted."""
        return (self._euclidean_keys if self.is_euclidean else self._hamming_keys)(self._query[start:stop])

    def _prepare_euclidean(self, query: torch.Tensor, gallery: torch.Tensor) -> np.ndarray:
        self.low_bits = euclidean_low_bits(self.photos)
        distinct, repeats = without_repeats(gallery.double().cpu().numpy())
        self._repeats = None if repeats is None else torch.from_numpy(repeats).to(query.device)
        rows = torch.from_numpy(distinct).to(query.device)
        self._query, right = euclidean_factors(torch, query.double(), rows, gallery.double().mean(0))
        self._rows = right.contiguous()
        return 2 * self.place

    def _euclidean_keys(self, query: torch.Tensor) -> torch.Tensor:
        squared = query @ self._rows
        if self._repeats is not None:
            squared = squared[:, self._repeats]
        keys = squared.view(torch.int64)  # the bit patterns of non-negative floats are ordered as the floats are
        keys &= (2**63 - 1) ^ ((1 << self.low_bits) - 1)
        keys += self._tags
        return keys

    def _prepare_hamming(self, query: torch.Tensor, gallery: torch.Tensor) -> np.ndarray:
        self.low_bits = (2 * self.photos - 1).bit_length()
        self._query, self._rows = query.float() * 2 - 1, (gallery.float() * 2 - 1).T.contiguous()
        is_small = (self.bits + 1) << self.low_bits < INT32_KEYS
        return (2 * self.place).astype(np.int32 if is_small else np.int64)

    def _hamming_keys(self, query: torch.Tensor) -> torch.Tensor:
        with torch.autocast(query.device.type, enabled=False):
            agreement = query @ self._rows  # bits - 2 * distance: integers, exact below 2**24 bits
        keys = agreement.to(self._tags.dtype)
        keys.neg_().add_(self.bits).bitwise_left_shift_(self.low_bits - 1)  # twice the distance, hence one less
        keys += self._tags
        return keys
