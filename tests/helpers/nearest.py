"""The ranking itself, which tests compare with others."""

import numpy as np
import torch

from retrieval.ranking import GalleryKeys, check_sets, map_blocks, sort_rows


def top_k(query: torch.Tensor, gallery: torch.Tensor, k: int, distance: str = "euclidean") -> np.ndarray:
    """(n, min(k, m)) int64: indices of the k nearest gallery rows of each query, nearest first."""
    check_sets(distance, query=query, gallery=gallery)
    keys_of = GalleryKeys(distance, query, gallery)
    blocks = map_blocks(lambda start, stop: keys_of.nearest(sort_rows(keys_of(start, stop)), k), keys_of)
    return np.concatenate(list(blocks)).astype(np.int64)
