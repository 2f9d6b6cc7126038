"""The ranking itself, which tests compare with others."""

import numpy as np
import torch

from retrieval.ranking import check_sets, map_blocks, ranker_of


def top_k(query: torch.Tensor, gallery: torch.Tensor, k: int, distance: str = "euclidean") -> np.ndarray:
    """(n, min(k, m)) int64: indices of the k nearest gallery rows of each query, nearest first."""
    check_sets(distance, query=query, gallery=gallery)
    ranker = ranker_of(distance, query, gallery)
    blocks = map_blocks(lambda start, stop: ranker(start, stop, [(slice(0, stop - start), slice(0, 0))], k)[1], ranker)
    return np.concatenate(list(blocks)).astype(np.int64)
