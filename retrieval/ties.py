"""Figures averaged over all orders of photos at equal distance, from counts alone.

With few bits many photos share a distance, and which of them comes first is chance. Within a group of tied photos every
order is equally likely, so a hit's chance and the mean precision there follow from four counts: the group's photos and
positives, and those before it (McSherry & Najork, "Computing Information Retrieval Performance Measures Efficiently in the
Presence of Tied Scores", ECIR 2008, for AP and precision; the cut at k and the division by the hits found are worked out here).
"""

from dataclasses import dataclass

import numpy as np

TIE_DRAWS = 20  # orders drawn for interpolated AP, whose mean has no such formula


@dataclass
class TieGroups:
    """sizes, positives: (n, groups) int64, photos and hits at each distance, nearest first; empty groups are fine."""

    sizes: np.ndarray
    positives: np.ndarray

    def __post_init__(self):
        self.before = np.cumsum(self.sizes, axis=1) - self.sizes  # photos in nearer groups
        self.hits_before = np.cumsum(self.positives, axis=1) - self.positives
        photos = int(self.sizes.sum(1).max(initial=0))
        self._harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, photos + 1))])
        self._log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, photos + 1)))])

    def figures(self):
        """As `metrics.figures_of`, without the interpolated AP."""
        total = np.maximum(self.positives.sum(1), 1)
        photos = np.maximum(self.sizes.sum(1), 1)
        found = {k: self.found(k) for k in (100, 200)}
        precisions = self.precision_sum(200)
        figures = {
            "ap": self.precision_sum() / total,
            "ap_200": precisions / np.minimum(total, 200),
            "ap_200_over_200": precisions / 200,
            "ap_200_over_hits": self.ap_over_hits(200),
            **{f"p{k}": found[k] / k for k in found},
            "p100_within_gallery": found[100] / np.minimum(100, photos),
            **{f"recall_{k}": found[k] / total for k in found},
        }
        return {name: values.clip(0, 1) for name, values in figures.items()}  # rounding may leave a trace outside

    def found(self, k):
        """(n,): mean number of hits within the first k."""
        return (self._slots(k) * self.positives / np.maximum(self.sizes, 1)).sum(1)

    def precision_sum(self, k=None):
        """(n,): mean sum of the precisions at the hits within the first k, or at all."""
        return self._group_sums(k).sum(1)

    def ap_over_hits(self, k):
        """(n,): mean of the precision sum divided by the hits found within the first k; 0 where none is found.

        Only the group that the cut goes through leaves the number of hits open; there it is hypergeometric.
        """
        row = np.arange(len(self.sizes))
        slots_of_all = self._slots(k)
        cut = slots_of_all.shape[1] - 1 - (slots_of_all[:, ::-1] > 0).argmax(1)  # the last group with a place within k
        size, positives, slots = (array[row, cut][:, None] for array in (self.sizes, self.positives, slots_of_all))
        before, hits_before = self.before[row, cut][:, None], self.hits_before[row, cut][:, None]
        surely = (self._group_sums(k) * (np.arange(self.sizes.shape[1]) < cut[:, None])).sum(1, keepdims=True)

        hits = np.arange(min(k, int(positives.max(initial=0))) + 1)[None]  # (1, h): found in the cut group
        within = self._precision_sums(before, hits_before, slots, hits, slots)
        value = (surely + within) / np.maximum(hits_before + hits, 1)
        return (self._chance(hits, size, positives, slots) * value).sum(1)

    def _slots(self, k):
        """(n, groups): how many of a group's places lie within the first k."""
        return self.sizes if k is None else np.clip(k - self.before, 0, self.sizes)

    def _group_sums(self, k):
        """(n, groups): mean precision sum of each group's places within the first k."""
        return self._precision_sums(self.before, self.hits_before, self.sizes, self.positives, self._slots(k))

    def _precision_sums(self, before, hits_before, size, hits, slots):
        """Mean precision sum of the first `slots` places of groups of `size` photos, `hits` of them hits.

        At a group's j-th place the chance of a hit is hits/size; given one, hits_before + 1 + (j - 1)(hits - 1)/(size - 1) are
        expected up to there, among before + j photos.
        """
        # the sums over j = 1 to slots of 1/(before + j) and of (j - 1)/(before + j)
        harmonic = self._harmonic[before + slots] - self._harmonic[before]
        weighted = slots - (before + 1) * harmonic
        others = (hits - 1) / np.maximum(size - 1, 1)
        return hits / np.maximum(size, 1) * ((hits_before + 1) * harmonic + others * weighted)

    def _chance(self, hits, size, positives, slots):
        """(n, h): hypergeometric chance of so many hits in `slots` of `size` places, `positives` of which hold one."""
        log = self._log_choose(positives, hits) + self._log_choose(size - positives, slots - hits) - self._log_choose(size, slots)
        return np.exp(log)

    def _log_choose(self, of, take):
        possible = (take >= 0) & (take <= of)
        take = np.where(possible, take, 0)
        log = self._log_factorial
        return np.where(possible, log[of] - log[take] - log[of - take], -np.inf)
