"""The content of each section of the report page, as plain values for its template."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from report import plots
from report.analysis import (
    FIRST,
    MAP_AT_LEAST,
    MAP_LIMIT,
    best_median_worst,
    confusion,
    disagreements,
    evenly_sampled,
    map_in_plane,
    released_ap,
)
from report.text import class_names, clean
from report.thumbnails import Thumbnails
from retrieval.metrics import METRICS, Scores

MOST_SHOWN = 100  # classes in the confusion matrix: with more, it is unreadable
CONFUSIONS = 12  # in the list of the most frequent ones
DISAGREEMENTS = 8  # queries shown for each direction
OTHER_CLASSES = "other (seen) classes"
THUMBNAIL, THUMBNAIL_OF_MANY, MANY_CLASSES = 96, 64, 60  # pixels; from so many classes on small ones keep the file small


@dataclass
class ReportData:
    """One test: n queries against m photos, ranked in one or two ways."""

    title: str
    facts: dict[str, str]  # shown under the title
    scores: dict[str, Scores]  # "real" and/or "hash", in display order; the first is shown in sections on a single ranking
    query_labels: np.ndarray  # (n,) int
    gallery_labels: np.ndarray  # (m,) int; may hold labels that no query has
    names: Mapping[int, str] | Sequence[str]  # names[label] = class name
    query_features: np.ndarray | None  # (n, d) float32; None: no map
    gallery_features: np.ndarray | None  # (m, d)
    thumbnail: Callable[[str, int], np.ndarray] | None  # ("query" or "gallery", index) → (H, W, 3) uint8; None: no pictures

    @property
    def main_name(self) -> str:
        """The ranking that sections on a single ranking show."""
        return next(iter(self.scores))

    @property
    def main(self) -> Scores:
        return self.scores[self.main_name]


def page_contents(data: ReportData) -> dict[str, Any]:
    """The values that the template reads."""
    names = class_names(data.names, np.concatenate([data.query_labels, data.gallery_labels]))
    means = {name: _class_means(data, name) for name in ("ap_interpolated", "p100_within_gallery")}
    by_ap = sorted(means["ap_interpolated"], key=lambda label: -means["ap_interpolated"][label][0])
    side = THUMBNAIL if len(by_ap) < MANY_CLASSES else THUMBNAIL_OF_MANY
    return {
        "data": data,
        "title": clean(data.title),
        "facts": [(clean(name), clean(value)) for name, value in data.facts.items()],
        "names": names,
        "metrics": METRICS,
        "summaries": [scores.summary() for scores in data.scores.values()],
        "classes": by_ap,
        "means": means,
        "queries": Counter(data.query_labels.tolist()),
        "photos": Counter(data.gallery_labels.tolist()),
        "curves": _curves(data),
        "chosen": best_median_worst(data.main),
        "released_ap": released_ap,
        "confusion": _confusion(data, names),
        "map": _map(data, names),
        "disagreement": _disagreement(data) if len(data.scores) == 2 else None,
        "pictures": Thumbnails(data.thumbnail, side) if data.thumbnail else None,
        "side": side,
    }


def _class_means(data: ReportData, name: str) -> dict[int, list[float]]:
    """{label: mean of the values of this name in each ranking}."""
    means = [scores.class_means(scores.per_query[name]) for scores in data.scores.values()]
    return dict(zip(data.main.classes().tolist(), np.stack(means, axis=1).tolist(), strict=True))


def _curves(data: ReportData) -> str:
    """The chart of precision over recall."""
    means = {ranking: scores.mean(scores.curve, over="class") for ranking, scores in data.scores.items()}
    each_class = data.main.class_means(data.main.curve)
    return plots.precision_recall(means, each_class, f"Precision over recall: {' and '.join(means)}; thin, each class")


def _confusion(data: ReportData, names: dict[int, str]) -> dict[str, Any]:
    """The confusion matrix, and its most frequent confusions in words."""
    shown = set(data.main.classes().tolist())
    rows = [label for label in names if label in shown]
    found = confusion(data.main, data.gallery_labels, np.array(rows))
    columns = [*(names[label] for label in rows), OTHER_CLASSES][: found.shares.shape[1]]
    frequent = [(columns[row], columns[column], share) for row, column, share in found.most_frequent(CONFUSIONS)]
    shares = found.shares.tolist() if len(rows) <= MOST_SHOWN else []
    return {"columns": columns, "shares": shares, "frequent": frequent, "first": FIRST, "has_others": found.has_others}


def _map(data: ReportData, names: dict[int, str]) -> dict[str, Any] | None:
    """The map of a sample of queries and photos, and its legend; None without features; a note if there is no map."""
    if data.query_features is None or data.gallery_features is None:
        return None
    queries, photos = (evenly_sampled(labels, MAP_LIMIT) for labels in (data.query_labels, data.gallery_labels))
    points = map_in_plane(np.concatenate([data.query_features[queries], data.gallery_features[photos]]))
    if points is None:
        return {"note": f"No map: fewer than {MAP_AT_LEAST} images, or their embeddings are all the same or not finite."}
    with_queries = set(data.query_labels.tolist())
    shown = [label for label in names if label in with_queries]
    number = {label: place for place, label in enumerate(shown)}
    labels = [*data.query_labels[queries].tolist(), *data.gallery_labels[photos].tolist()]
    classes = np.array([number.get(label, -1) for label in labels])
    legend = [(place, names[label], plots.colour(place)) for label, place in number.items()]
    return {
        "chart": plots.class_map(points, classes, np.arange(len(points)) < len(queries)),
        "legend": legend + [(-1, OTHER_CLASSES, plots.colour(-1))] * bool((classes < 0).any()),
        "queries": len(queries),
        "photos": len(photos),
    }


def _disagreement(data: ReportData) -> dict[str, Any]:
    """The chart of per-query AP in one ranking against the other, and the queries that differ most."""
    names, (first, second) = list(data.scores), data.scores.values()
    x, y = (released_ap(scores)[first.has_positive] for scores in (first, second))
    return {
        "chart": plots.agreement(x, y, names, f"Released AP of each query, {names[0]} and {names[1]}"),
        "better": (int((x > y).sum()), int((x < y).sum()), int((x == y).sum())),
        "sides": list(zip(names, names[::-1], disagreements(first, second, DISAGREEMENTS), strict=True)),
    }
