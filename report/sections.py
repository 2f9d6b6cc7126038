"""What each section of the report page says, as plain values for its template.

`ReportData` is one test; `Sections` turns it into numbers, words, drawings and small pictures.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

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
from report.plots import OTHERS, agreement, confusion_map, map_of_classes, palette, precision_recall
from report.text import ClassNames
from report.thumbnails import Thumbnails
from retrieval.metrics import METRICS, Scores

PHOTOS = 10  # in a row of pictures
MOST_DRAWN = 250  # classes in the confusion drawing: of more nobody could read a row
CONFUSIONS = 12  # in the list of the most frequent ones
DISAGREEMENTS = 8  # queries shown for each direction
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
    query_features: np.ndarray | None  # (n, d) float32; without them there is no map
    gallery_features: np.ndarray | None  # (m, d)
    thumbnail: Callable[[str, int], np.ndarray] | None  # ("query" or "gallery", index) → (H, W, 3) uint8; None: no pictures
    seed: int = 0

    def check(self) -> None:
        """Raises ValueError if the arrays do not belong together or no query has a positive."""
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
        """The ranking that sections about a single one show."""
        return "real" if "real" in self.scores else next(iter(self.scores))

    @property
    def main(self) -> Scores:
        return self.scores[self.main_name]


class Sections:
    """The values of every section; `thumbnails` collects the pictures that they use."""

    def __init__(self, data: ReportData):
        self.data = data
        self.names = ClassNames(data.names)
        self.by_name = self.names.alphabetical(data.main.classes())
        ap = data.main.class_means(released_ap(data.main))
        self.by_ap = [int(label) for label in data.main.classes()[np.argsort(-ap, kind="stable")]]
        self.side = THUMBNAIL if len(self.by_ap) < MANY_CLASSES else THUMBNAIL_OF_MANY
        self.thumbnails = Thumbnails(data.thumbnail, self.side) if data.thumbnail else None

    def table(self) -> list[dict]:
        """A row for each of METRICS: its words, its value in each ranking, whether papers publish it."""
        summaries = [scores.summary() for scores in self.data.scores.values()]
        return [
            {"text": figure.text, "values": [one[key] for one in summaries], "headline": key.endswith("_released")}
            for key, figure in METRICS.items()
        ]

    def bars(self) -> list[dict]:
        """A row for each class, best AP first: released AP and P@100 in each ranking, and how high that P@100 can get."""
        means = {
            (ranking, figure): dict(zip(scores.classes(), scores.class_means(scores.figures[figure]), strict=True))
            for ranking, scores in self.data.scores.items()
            for figure in ("ap_interpolated", "p100_within_gallery")
        }
        rows = []
        for label in self.by_ap:
            photos = int((self.data.gallery_labels == label).sum())
            row = {"name": self.names[label], "photos": photos, "queries": int((self.data.query_labels == label).sum())}
            row["ap"], row["p100"] = (
                [float(means[ranking, figure][label]) for ranking in self.data.scores]
                for figure in ("ap_interpolated", "p100_within_gallery")
            )
            rows.append({**row, "reach": min(100, photos) / min(100, len(self.data.gallery_labels))})
        return rows

    def curves(self) -> str:
        """The drawing of precision over recall."""
        means = {ranking: scores.mean(scores.curve, over="class") for ranking, scores in self.data.scores.items()}
        each_class = self.data.main.class_means(self.data.main.curve)
        return precision_recall(means, each_class, f"Precision over recall: {' and '.join(means)}; thin, each class")

    def grids(self) -> list[dict] | None:
        """For each class, best first: its best, median and worst query with their first photos."""
        if not self.thumbnails:
            return None
        chosen, ap = best_median_worst(self.data.main), released_ap(self.data.main)
        return [
            {
                "name": self.names[label],
                "ap": float(ap[(self.data.query_labels == label) & self.data.main.has_positive].mean()),
                "queries": int((self.data.query_labels == label).sum()),
                "rows": [self._row(self.data.main_name, query, role) for role, query in chosen[label]],
            }
            for label in self.by_ap
        ]

    def confusion(self) -> dict:
        """The drawing of which classes are retrieved for which, and the most frequent wrong ones in words."""
        found = confusion(self.data.main, self.data.gallery_labels, np.array(self.by_name))
        names = [self.names[label] for label in self.by_name]
        columns = names + [OTHER_CLASSES]
        frequent = [(names[row], columns[column], share) for row, column, share in found.most_frequent(CONFUSIONS)]
        title = "Share of each class among the first photos of each query class"
        drawing = confusion_map(found, names, OTHER_CLASSES, title) if len(names) <= MOST_DRAWN else None
        return {"drawing": drawing, "frequent": frequent, "first": FIRST, "has_others": found.has_others}

    def map(self) -> dict | None:
        """The drawing of a sample of queries and photos in the plane, and its legend; or None, or a note why there is none."""
        data = self.data
        if data.query_features is None or data.gallery_features is None:
            return None
        generator = np.random.default_rng(data.seed)
        sampled = [stratified_sample(labels, MAP_LIMIT, generator) for labels in (data.query_labels, data.gallery_labels)]
        features = np.concatenate([data.query_features[sampled[0]], data.gallery_features[sampled[1]]])
        points = map_in_plane(features, data.seed)
        if points is None:
            return {"note": f"No map: fewer than {MAP_AT_LEAST} images, or their embeddings are all the same or not finite."}
        labels = np.concatenate([data.query_labels[sampled[0]], data.gallery_labels[sampled[1]]])
        shown = self.names.alphabetical(np.unique(data.query_labels))
        number = {label: place for place, label in enumerate(shown)}
        classes = np.array([number.get(int(label), -1) for label in labels])
        legend = [
            (place, self.names[label], colour) for (label, place), colour in zip(number.items(), palette(len(shown)), strict=True)
        ]
        return {
            "drawing": map_of_classes(points, classes, np.arange(len(points)) < len(sampled[0]), "Map of queries and photos"),
            "legend": legend + [(-1, OTHER_CLASSES, OTHERS)] * bool((classes < 0).any()),
            "queries": len(sampled[0]),
            "photos": len(sampled[1]),
        }

    def disagreement(self) -> dict | None:
        """The drawing of per-query AP in one ranking over the other, and the queries that differ most."""
        if len(self.data.scores) < 2:
            return None
        (first, second), (a, b) = list(self.data.scores)[:2], list(self.data.scores.values())[:2]
        counted = a.has_positive
        x, y = released_ap(a)[counted], released_ap(b)[counted]
        either = disagreements(a, b, DISAGREEMENTS)
        return {
            "drawing": agreement(x, y, (first, second), f"Released AP of each query, {first} and {second}"),
            "names": (first, second),
            "better": (int((x > y).sum()), int((x < y).sum()), int((x == y).sum())),
            "sides": [
                {"winner": winner, "loser": loser, "queries": [self._difference(int(query)) for query in queries]}
                for winner, loser, queries in zip((first, second), (second, first), either, strict=True)
            ],
        }

    def _difference(self, query: int) -> dict:
        """One query's AP in both rankings and, with pictures, its first photos in each."""
        rankings = list(self.data.scores)[:2]
        ap = [(ranking, float(released_ap(self.data.scores[ranking])[query])) for ranking in rankings]
        rows = [self._row(ranking, query, ranking) for ranking in rankings] if self.thumbnails else []
        return {"name": self.names[self.data.query_labels[query]], "ap": ap, "rows": rows}

    def _row(self, ranking: str, query: int, role: str) -> dict:
        """One query's picture, AP and first photos."""
        scores, label = self.data.scores[ranking], self.data.query_labels[query]
        photos = [self._photo(int(index), place, label) for place, index in enumerate(scores.nearest[query, :PHOTOS], 1)]
        return {
            "role": role,
            "ap": float(released_ap(scores)[query]),
            "query": self.thumbnails.css_class("query", query),
            "alt": f"query: {self.names[label]}",
            "photos": photos,
        }

    def _photo(self, index: int, place: int, query_label: int) -> dict:
        label = self.data.gallery_labels[index]
        right, name = bool(label == query_label), self.names[label]
        alt = f"photo {place}, {'right' if right else 'wrong'}: {name}"
        return {"css": self.thumbnails.css_class("gallery", index), "right": right, "name": name, "alt": alt}
