"""The content of each section of the report page, as plain values for its template."""

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
    map_in_plane,
    released_ap,
    stratified_sample,
)
from report.text import ClassNames, clean
from report.thumbnails import Thumbnails
from retrieval.metrics import METRICS, Scores

PHOTOS = 10  # in a row of pictures
MOST_DRAWN = 250  # classes in the confusion matrix: with more, rows are unreadable
CONFUSIONS = 12  # in the list of the most frequent ones
DISAGREEMENTS = 8  # queries shown for each direction
SEED = 0  # for the sample in the map and for t-SNE
OTHER_CLASSES = "other (seen) classes"
THUMBNAIL, THUMBNAIL_OF_MANY, MANY_CLASSES = 96, 64, 60  # pixels; from so many classes on small ones keep the file small


@dataclass
class ReportData:
    """One test: n queries against m photos, ranked in one or two ways."""

    title: str
    facts: dict[str, str]  # shown under the title
    scores: dict[str, Scores]  # "real" and/or "hash", in display order
    query_labels: np.ndarray  # (n,) int
    gallery_labels: np.ndarray  # (m,) int; may hold labels that no query has
    names: Mapping[int, str] | Sequence[str]  # names[label] = class name
    query_features: np.ndarray | None  # (n, d) float32; None: no map
    gallery_features: np.ndarray | None  # (m, d)
    thumbnail: Callable[[str, int], np.ndarray] | None  # ("query" or "gallery", index) → (H, W, 3) uint8; None: no pictures

    def check(self) -> None:
        """Raise ValueError if the arrays do not belong together or no query has a positive."""
        for ranking, scores in self.scores.items():
            if not np.array_equal(scores.query_labels, self.query_labels):
                raise ValueError(f"{ranking!r} has scores of other queries than the {len(self.query_labels)} labelled ones")
        for features, labels in ((self.query_features, self.query_labels), (self.gallery_features, self.gallery_labels)):
            if features is not None and len(features) != len(labels):
                raise ValueError(f"{len(features)} rows of features for {len(labels)} labels")
        if not self.scores or not self.main.has_positive.any():
            raise ValueError("nothing to report: no ranking, or no query with a photo of its class")

    @property
    def main_name(self) -> str:
        """The ranking that sections on a single ranking show."""
        return "real" if "real" in self.scores else next(iter(self.scores))

    @property
    def main(self) -> Scores:
        return self.scores[self.main_name]


def page_contents(data: ReportData) -> dict[str, Any]:
    """The values of the page's template."""
    sections = _Sections(data)
    contents = {
        "title": clean(data.title),
        "facts": [(clean(name), clean(value)) for name, value in data.facts.items()],
        "rankings": list(data.scores),
        "main": data.main_name,
        "queries": len(data.query_labels),
        "photos": len(data.gallery_labels),
        "without_positive": data.main.without_positive,
        "ties_averaged": any(scores.ties == "average" for scores in data.scores.values()),
        "table": sections.table(),
        "classes": sections.classes(),
        "curves": sections.curves(),
        "grids": sections.grids(),
        "confusion": sections.confusion(),
        "map": sections.map(),
        "disagreement": sections.disagreement(),
    }
    # last, because the sections collect the pictures
    return {**contents, "pictures": sections.thumbnails.rules if sections.thumbnails else {}, "side": sections.side}


class _Sections:
    """The values of every section; `thumbnails` collects the pictures that they show."""

    def __init__(self, data: ReportData):
        self.data = data
        self.names = ClassNames(data.names)
        self.by_name = self.names.alphabetical(data.main.classes())
        self.ap = dict(zip(data.main.classes().tolist(), data.main.class_means(released_ap(data.main)).tolist(), strict=True))
        self.by_ap = sorted(self.ap, key=lambda label: -self.ap[label])
        self.side = THUMBNAIL if len(self.by_ap) < MANY_CLASSES else THUMBNAIL_OF_MANY
        self.thumbnails = Thumbnails(data.thumbnail, self.side) if data.thumbnail else None

    def table(self) -> list[dict[str, Any]]:
        """A row for each of METRICS: its name, its value in each ranking, whether papers publish it."""
        summaries = [scores.summary() for scores in self.data.scores.values()]
        return [
            {"text": metric.text, "values": [each[key] for each in summaries], "headline": key.endswith("_released")}
            for key, metric in METRICS.items()
        ]

    def classes(self) -> list[dict[str, Any]]:
        """A row for each class, best AP first: released AP and P@100 in each ranking, and the highest P@100 possible."""
        gallery = self.data.gallery_labels
        values = {}
        for name in ("ap_interpolated", "p100_within_gallery"):
            means = [scores.class_means(scores.per_query[name]) for scores in self.data.scores.values()]
            values[name] = dict(zip(self.data.main.classes().tolist(), np.stack(means, axis=1).tolist(), strict=True))
        return [
            {
                "name": self.names[label],
                "photos": (photos := int((gallery == label).sum())),
                "queries": self._queries(label),
                "ap": values["ap_interpolated"][label],
                "p100": values["p100_within_gallery"][label],
                "reach": min(100, photos) / min(100, len(gallery)),
            }
            for label in self.by_ap
        ]

    def curves(self) -> str:
        """The chart of precision over recall."""
        means = {ranking: scores.mean(scores.curve, over="class") for ranking, scores in self.data.scores.items()}
        each_class = self.data.main.class_means(self.data.main.curve)
        return plots.precision_recall(means, each_class, f"Precision over recall: {' and '.join(means)}; thin, each class")

    def grids(self) -> list[dict[str, Any]] | None:
        """The best, median and worst query of each class with their first photos; best class first."""
        if not self.thumbnails:
            return None
        chosen, main = best_median_worst(self.data.main), self.data.main_name
        return [
            {
                "name": self.names[label],
                "ap": self.ap[label],
                "queries": self._queries(label),
                "rows": [self._row(main, query, role) for role, query in chosen[label]],
            }
            for label in self.by_ap
        ]

    def confusion(self) -> dict[str, Any]:
        """The confusion matrix, and its most frequent confusions in words."""
        found = confusion(self.data.main, self.data.gallery_labels, np.array(self.by_name))
        names = [self.names[label] for label in self.by_name]
        columns = [*names, OTHER_CLASSES]
        frequent = [(names[row], columns[column], share) for row, column, share in found.most_frequent(CONFUSIONS)]
        alt = "Share of each class among the first photos of each query class"
        chart = plots.confusion_matrix(found, names, OTHER_CLASSES, alt) if len(names) <= MOST_DRAWN else None
        return {"chart": chart, "frequent": frequent, "first": FIRST, "has_others": found.has_others}

    def map(self) -> dict[str, Any] | None:
        """The map of a sample of queries and photos, and its legend; None without features; a note if there is no map."""
        data = self.data
        if data.query_features is None or data.gallery_features is None:
            return None
        generator = np.random.default_rng(SEED)
        queries, photos = (stratified_sample(labels, MAP_LIMIT, generator) for labels in (data.query_labels, data.gallery_labels))
        points = map_in_plane(np.concatenate([data.query_features[queries], data.gallery_features[photos]]), SEED)
        if points is None:
            return {"note": f"No map: fewer than {MAP_AT_LEAST} images, or their embeddings are all the same or not finite."}
        shown = self.names.alphabetical(np.unique(data.query_labels))
        number = {label: place for place, label in enumerate(shown)}
        labels = np.concatenate([data.query_labels[queries], data.gallery_labels[photos]])
        classes = np.array([number.get(int(label), -1) for label in labels])
        colours = plots.palette(len(shown))
        legend = [(place, self.names[label], colours[place]) for label, place in number.items()]
        return {
            "chart": plots.class_map(points, classes, np.arange(len(points)) < len(queries)),
            "legend": legend + [(-1, OTHER_CLASSES, plots.OTHERS)] * bool((classes < 0).any()),
            "queries": len(queries),
            "photos": len(photos),
        }

    def disagreement(self) -> dict[str, Any] | None:
        """The chart of per-query AP in one ranking against the other, and the queries that differ most."""
        if len(self.data.scores) < 2:
            return None
        names, (first, second) = list(self.data.scores)[:2], list(self.data.scores.values())[:2]
        x, y = (released_ap(scores)[first.has_positive] for scores in (first, second))
        either = disagreements(first, second, DISAGREEMENTS)
        return {
            "chart": plots.agreement(x, y, names, f"Released AP of each query, {names[0]} and {names[1]}"),
            "names": names,
            "better": (int((x > y).sum()), int((x < y).sum()), int((x == y).sum())),
            "sides": [
                {"winner": winner, "loser": loser, "queries": [self._difference(int(query), names) for query in queries]}
                for winner, loser, queries in zip(names, names[::-1], either, strict=True)
            ],
        }

    def _queries(self, label: int) -> int:
        return int((self.data.query_labels == label).sum())

    def _difference(self, query: int, rankings: Sequence[str]) -> dict[str, Any]:
        """One query's AP and, if there are pictures, its first photos in both rankings."""
        ap = [(ranking, float(released_ap(self.data.scores[ranking])[query])) for ranking in rankings]
        rows = [self._row(ranking, query, ranking) for ranking in rankings] if self.thumbnails else []
        return {"name": self.names[self.data.query_labels[query]], "ap": ap, "rows": rows}

    def _row(self, ranking: str, query: int, role: str) -> dict[str, Any]:
        """One query's picture, AP and first photos."""
        scores, label = self.data.scores[ranking], self.data.query_labels[query]
        return {
            "role": role,
            "ap": float(released_ap(scores)[query]),
            "query": self._css_class("query", query),
            "alt": f"query: {self.names[label]}",
            "photos": [self._photo(int(index), place, label) for place, index in enumerate(scores.nearest[query, :PHOTOS], 1)],
        }

    def _photo(self, index: int, place: int, query_label: int) -> dict[str, Any]:
        label = self.data.gallery_labels[index]
        right, name = bool(label == query_label), self.names[label]
        alt = f"photo {place}, {'right' if right else 'wrong'}: {name}"
        return {"css": self._css_class("gallery", index), "right": right, "name": name, "alt": alt}

    def _css_class(self, kind: str, index: int) -> str:
        assert self.thumbnails is not None
        return self.thumbnails.css_class(kind, index)
