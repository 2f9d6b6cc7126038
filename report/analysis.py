"""The content of the report page as plain arrays: chosen queries, confusion of classes, a map in the plane.

Queries without a positive take part in nothing but the map.
"""

from dataclasses import dataclass

import numpy as np

from retrieval.metrics import Scores

FIRST = 100  # photos per query in the confusion of classes
MAP_LIMIT = 1000  # queries and as many photos in the map: t-SNE then takes some seconds on one core
MAP_AT_LEAST = 10  # points
MAP_ITERATIONS = 500  # 250 of them with exaggerated attraction; more move nothing visibly
MAP_INPUT = 50  # principal components that t-SNE starts from


def released_ap(scores: Scores) -> np.ndarray:
    """(n,) float64: interpolated AP of each query, the released protocol's."""
    return scores.per_query["ap_interpolated"]


def best_median_worst(scores: Scores) -> dict[int, list[tuple[str, int]]]:
    """{label: [(role, query index)]}, best first, by released AP; of equal queries the lower index counts as better.

    The median of an even number of queries is the worse of the middle two. No query appears twice: a class of two has no
    median, and a class of one has its only query.
    """
    chosen = {}
    for label in scores.classes():
        queries = np.flatnonzero(scores.has_positive & (scores.query_labels == label))
        queries = queries[np.argsort(-released_ap(scores)[queries], kind="stable")]
        last = len(queries) - 1
        roles = {0: "best", len(queries) // 2: "median", last: "worst"} if last else {0: "only query"}
        chosen[int(label)] = [(role, int(queries[place])) for place, role in roles.items()]
    return chosen


@dataclass
class Confusion:
    """The classes of the first photos of each class's queries."""

    labels: np.ndarray  # (c,): the classes of the rows, and of the first c columns
    shares: np.ndarray  # (c, c), or (c, c + 1) if a last column holds photos of all classes without a query

    @property
    def has_others(self) -> bool:
        return self.shares.shape[1] > len(self.labels)

    def most_frequent(self, limit: int) -> list[tuple[int, int, float]]:
        """The largest shares of wrong classes as (row, column, share), largest first, without shares of 0."""
        wrong = self.shares.copy()
        np.fill_diagonal(wrong[:, : len(self.labels)], 0)
        order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
        found = [divmod(int(place), wrong.shape[1]) for place in order]
        return [(row, column, float(wrong[row, column])) for row, column in found if wrong[row, column] > 0]


def confusion(scores: Scores, gallery_labels: np.ndarray, labels: np.ndarray) -> Confusion:
    """Share of each class among the first FIRST photos of a query, averaged over the queries of a class.

    For a class with fewer photos only as many ranks count as it has, so a perfect ranking gives every class a share of 1.
    gallery_labels: (m,). labels: `scores.classes()` in the order of the rows. Each row of the shares sums to 1.
    """
    column = {label: place for place, label in enumerate(labels.tolist())}
    columns = np.array([column.get(label, len(labels)) for label in gallery_labels.tolist()])  # of each photo
    positives = np.bincount(columns, minlength=len(labels) + 1)
    counts = np.zeros((len(labels), len(labels) + 1))
    for row, label in enumerate(labels):
        queries = scores.has_positive & (scores.query_labels == label)
        nearest = scores.nearest[queries, : min(FIRST, positives[row])]
        counts[row] = np.bincount(columns[nearest].ravel(), minlength=len(labels) + 1)
    shares = counts / counts.sum(1, keepdims=True)
    return Confusion(labels, shares if positives[-1] else shares[:, :-1])


def disagreements(first: Scores, second: Scores, limit: int) -> list[np.ndarray]:
    """The queries with a higher released AP in the first ranking, and those with a higher one in the second.

    Each as up to `limit` query indices, largest difference first, at equal difference the lower index first.
    """
    difference = np.where(first.has_positive, released_ap(first) - released_ap(second), 0)
    orders = ((gain, np.argsort(-gain, kind="stable")[:limit]) for gain in (difference, -difference))
    return [order[gain[order] > 0] for gain, order in orders]


def evenly_sampled(labels: np.ndarray, limit: int) -> np.ndarray:
    """Up to `limit` indices, ascending, evenly spaced in the order of the labels: each class in proportion to its size."""
    places = np.linspace(0, len(labels) - 1, min(limit, len(labels))).round().astype(int)
    return np.sort(np.argsort(labels, kind="stable")[places])


def map_in_plane(features: np.ndarray) -> np.ndarray | None:
    """t-SNE of (p, d) features in the plane, (p, 2) float, started from their first two principal components.

    None if there are too few points, all are equal, or some are not finite.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    features = np.asarray(features, dtype=np.float64)
    # t-SNE of equal points runs into NaN and ends the program
    if len(features) < MAP_AT_LEAST or not np.isfinite(features).all() or np.ptp(features, axis=0).max(initial=0) == 0:
        return None
    features = features - features.mean(0)
    features /= np.abs(features).max()
    if features.shape[1] == 1:  # PCA must give two components
        features = np.pad(features, ((0, 0), (0, 1)))
    # more threads gain little on so few points, and lose much on a busy machine
    with threadpool_limits(1):
        if features.shape[1] > MAP_INPUT:
            features = PCA(min(MAP_INPUT, len(features)), random_state=0).fit_transform(features)
        perplexity = min(30, (len(features) - 1) / 3)
        tsne = TSNE(init="pca", random_state=0, perplexity=perplexity, max_iter=MAP_ITERATIONS, n_jobs=1)
        points = tsne.fit_transform(features)
    return points if np.isfinite(points).all() else None
