"""What the report page shows, as plain arrays: which queries to look at, which classes are taken for which, a map in the plane.

No drawing and no text here. Queries without a positive take no part in anything but the map.
"""

from dataclasses import dataclass

import numpy as np

from retrieval.metrics import Scores

FIRST = 100  # photos whose classes are looked at
MAP_LIMIT = 1000  # queries and as many photos in the map: t-SNE of both then takes some seconds on one core
MAP_AT_LEAST = 10  # points; fewer make no picture
MAP_ITERATIONS = 500  # of them 250 with exaggerated attraction; more move nothing that one would see
MAP_INPUT = 50  # principal components handed to t-SNE


def released_ap(scores: Scores) -> np.ndarray:
    """(n,) float64: interpolated AP of each query, the released protocol's."""
    return scores.figures["ap_interpolated"]


def best_median_worst(scores: Scores) -> dict[int, list[tuple[str, int]]]:
    """{label: [(role, query index)]}, best first, by released AP; of equal queries the lower index counts as better.

    Of an even number of queries the median is the worse of the two in the middle. No query appears twice: a class of two
    has no median, and a class of one has its only query.
    """
    chosen = {}
    for label in scores.classes():
        queries = np.flatnonzero(scores.has_positive & (scores.query_labels == label))
        queries = queries[np.argsort(-released_ap(scores)[queries], kind="stable")]
        if len(queries) == 1:
            chosen[int(label)] = [("only query", int(queries[0]))]
            continue
        places = {"best": 0, "median": len(queries) // 2, "worst": len(queries) - 1}
        if len(queries) == 2:
            del places["median"]
        chosen[int(label)] = [(role, int(queries[place])) for role, place in places.items()]
    return chosen


@dataclass
class Confusion:
    """Which classes the first photos of a class's queries belong to."""

    labels: np.ndarray  # (c,): the classes of the rows, and of the first c columns
    shares: np.ndarray  # (c, c), or (c, c + 1) where photos of classes without a query are joined in a last column

    @property
    def has_others(self) -> bool:
        return self.shares.shape[1] > len(self.labels)

    def most_frequent(self, limit: int) -> list[tuple[int, int, float]]:
        """The largest shares of wrong classes as (row, column, share), largest first; shares of 0 are left out."""
        wrong = self.shares.copy()
        np.fill_diagonal(wrong[:, : len(self.labels)], 0)
        order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
        found = [(int(place) // wrong.shape[1], int(place) % wrong.shape[1]) for place in order]
        return [(row, column, float(wrong[row, column])) for row, column in found if wrong[row, column] > 0]


def confusion(scores: Scores, gallery_labels: np.ndarray, labels: np.ndarray) -> Confusion:
    """Share of each class among a query's first FIRST photos, averaged over the queries of a class.

    Of a class with fewer photos only as many places count as it has, so that a perfect ranking gives it a share of 1
    whatever its size. gallery_labels: (m,). labels: `scores.classes()` in the order wanted. Each row of the shares sums
    to 1.
    """
    by_value = np.argsort(labels)
    place = np.searchsorted(labels[by_value], gallery_labels).clip(max=len(labels) - 1)
    columns = np.where(labels[by_value][place] == gallery_labels, by_value[place], len(labels))  # of each photo
    positives = np.bincount(columns, minlength=len(labels) + 1)
    counts = np.zeros((len(labels), len(labels) + 1))
    for row, label in enumerate(labels):
        of_class = scores.has_positive & (scores.query_labels == label)
        nearest = scores.nearest[of_class, : min(FIRST, positives[row])]
        counts[row] = np.bincount(columns[nearest].ravel(), minlength=len(labels) + 1)
    shares = counts / counts.sum(1, keepdims=True)
    return Confusion(labels, shares if positives[-1] else shares[:, :-1])


def disagreements(first: Scores, second: Scores, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """The queries whose released AP is higher in the first ranking, and those where it is higher in the second.

    Each as up to `limit` query indices, largest difference first, at equal difference the lower index first.
    """
    difference = np.where(first.has_positive, released_ap(first) - released_ap(second), 0)
    either = []
    for gain in (difference, -difference):
        order = np.argsort(-gain, kind="stable")[:limit]
        either.append(order[gain[order] > 0])
    return either[0], either[1]


def stratified_sample(labels: np.ndarray, limit: int, generator: np.random.Generator) -> np.ndarray:
    """Up to `limit` indices, ascending, each class in proportion to its size, first of all one of each class."""
    shuffled = generator.permutation(len(labels))
    _, classes, sizes = np.unique(labels[shuffled], return_inverse=True, return_counts=True)
    rank = np.empty(len(labels), dtype=np.int64)  # of each shuffled item within its class
    by_class = np.argsort(classes, kind="stable")
    rank[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    order = np.argsort(rank / sizes[classes], kind="stable")
    return np.sort(shuffled[order[:limit]])


def map_in_plane(features: np.ndarray, seed: int) -> np.ndarray | None:
    """t-SNE of (p, d) features in the plane, (p, 2) float, begun from their first two principal components.

    None where there is nothing to draw: too few points, all of them equal, or some not finite.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    features = np.asarray(features, dtype=np.float64)
    # without any spread t-SNE would run into NaN and end the program
    if len(features) < MAP_AT_LEAST or not np.isfinite(features).all() or np.ptp(features, axis=0).max(initial=0) == 0:
        return None
    features = features - features.mean(0)
    features /= np.abs(features).max()
    if features.shape[1] == 1:  # two components are needed to begin with
        features = np.pad(features, ((0, 0), (0, 1)))
    # more threads gain little on so few points, and lose much on a busy machine, where they wait for each other every step
    with threadpool_limits(1):
        if features.shape[1] > MAP_INPUT:
            features = PCA(min(MAP_INPUT, len(features)), random_state=seed).fit_transform(features)
        tsne = TSNE(init="pca", random_state=seed, perplexity=min(30, (len(features) - 1) / 3), n_jobs=1)
        # scikit-learn 1.5 renamed this option
        tsne.set_params(**{"max_iter" if "max_iter" in tsne.get_params() else "n_iter": MAP_ITERATIONS})
        points = tsne.fit_transform(features)
    return points if np.isfinite(points).all() else None
