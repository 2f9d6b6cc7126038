"""How hard an approximate index must search: measured on the index itself, once it is built."""

from collections.abc import Callable

import numpy as np

from retrieval.index_base import Found, VectorIndex, perturbed, recall

AIM, AT = 0.97, 20  # recall@20 to be reached on the sample, a little above the 0.95 that is promised
_SAMPLE = 200  # queries: one in twenty of their answers lost is then known to within 1 %


def least_effort(index: VectorIndex, search: Callable[[int, np.ndarray, int], Found], most: int) -> int:
    """The first of 1, 2, 4 … `most` with which search(effort, queries, k) has a recall@20 of 0.97, or `most`.

    The queries are some of the index's vectors, perturbed as in `VectorIndex.recall_at`.
    """
    queries = perturbed(index._sampled(_SAMPLE, np.random.default_rng(1)), seed=1)
    k = min(AT, len(index))
    wanted = index._search_exactly(queries, k)[0]
    effort = 1
    while effort < most and recall(wanted, search(effort, queries, k)[0]) < AIM:
        effort = min(2 * effort, most)
    return effort
