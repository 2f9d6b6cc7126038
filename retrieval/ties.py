"""Metrics averaged over all orders of photos at equal distance, from counts alone.

With few bits many photos share a distance, and which of them comes first is chance. Every order of tied photos is equally
likely, so the mean precision at each of their ranks follows from four counts: the photos and positives of the tied group, and
those before it (McSherry & Najork, "Computing Information Retrieval Performance Measures Efficiently in the Presence of Tied
Scores", ECIR 2008, for AP and precision; the cut at k and the division by the hits found are worked out here).
"""

from dataclasses import dataclass

import numpy as np

from retrieval.metrics import Ranking

TIE_DRAWS = 20  # orders drawn for the metrics whose mean over tied orders has no closed form


@dataclass
class TieGroups(Ranking):
    """sizes, hits: (n, groups) int64, number of photos and of hits at each distance, nearest first; groups may be empty."""

    sizes: np.ndarray
    hits: np.ndarray

    def __post_init__(self) -> None:
        self.positives, self.photos = self.hits.sum(1), int(self.sizes.sum(1).max(initial=0))
        self._before = np.cumsum(self.sizes, axis=1) - self.sizes  # photos in nearer groups
        self._hits_before = np.cumsum(self.hits, axis=1) - self.hits
        numbers = np.arange(1, self.photos + 1)
        self._harmonic = np.concatenate([[0.0], np.cumsum(1 / numbers)])
        self._log_factorial = np.concatenate([[0.0], np.cumsum(np.log(numbers))])

    def _found(self, k: int) -> np.ndarray:
        return (self._slots(k) * self.hits / np.maximum(self.sizes, 1)).sum(1)

    def _precision_sum(self, k: int | None) -> np.ndarray:
        return self._group_sums(k).sum(1)

    def _ap_over_hits(self, k: int) -> np.ndarray:
        # only the group at rank k leaves the number of hits open; there it has a hypergeometric distribution
        row = np.arange(len(self.sizes))
        all_slots = self._slots(k)
        cut = all_slots.shape[1] - 1 - (all_slots[:, ::-1] > 0).argmax(1)  # the last group with a place within k
        size, positives, slots = (array[row, cut][:, None] for array in (self.sizes, self.hits, all_slots))
        before, hits_before = self._before[row, cut][:, None], self._hits_before[row, cut][:, None]
        nearer = (self._group_sums(k) * (np.arange(self.sizes.shape[1]) < cut[:, None])).sum(1, keepdims=True)

        hits = np.arange(min(k, int(positives.max(initial=0))) + 1)[None]  # (1, h): found in the cut group
        within = self._precision_sums(before, hits_before, slots, hits, slots)
        value = (nearer + within) / np.maximum(hits_before + hits, 1)
        return (self._probability(hits, size, positives, slots) * value).sum(1)

    def _slots(self, k: int | None) -> np.ndarray:
        """(n, groups): number of a group's places within the first k."""
        return self.sizes if k is None else np.clip(k - self._before, 0, self.sizes)

    def _group_sums(self, k: int | None) -> np.ndarray:
        """(n, groups): mean precision sum of each group's places within the first k."""
        return self._precision_sums(self._before, self._hits_before, self.sizes, self.hits, self._slots(k))

    def _precision_sums(
        self, before: np.ndarray, hits_before: np.ndarray, size: np.ndarray, hits: np.ndarray, slots: np.ndarray
    ) -> np.ndarray:
        """Mean precision sum of the first `slots` places of groups of `size` photos, `hits` of them hits.

        The j-th place of a group holds a hit with probability hits/size. If it does, the expected number of hits up to there is
        hits_before + 1 + (j - 1)(hits - 1)/(size - 1), among before + j photos.
        """
        # the sums over j = 1 to slots of 1/(before + j) and of (j - 1)/(before + j)
        harmonic = self._harmonic[before + slots] - self._harmonic[before]
        weighted = slots - (before + 1) * harmonic
        others = (hits - 1) / np.maximum(size - 1, 1)
        return hits / np.maximum(size, 1) * ((hits_before + 1) * harmonic + others * weighted)

    def _probability(self, hits: np.ndarray, size: np.ndarray, positives: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """(n, h): hypergeometric probability of `hits` hits in `slots` of `size` places, `positives` of which hold one."""
        log = self._log_choose(positives, hits) + self._log_choose(size - positives, slots - hits) - self._log_choose(size, slots)
        return np.exp(log)

    def _log_choose(self, n: np.ndarray, k: np.ndarray) -> np.ndarray:
        possible = (k >= 0) & (k <= n)
        k = np.where(possible, k, 0)
        log = self._log_factorial
        return np.where(possible, log[n] - log[k] - log[n - k], -np.inf)
