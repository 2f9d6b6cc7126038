"""The picture of a test: one query of each class with its first photos."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from report.plots import RIGHT, WRONG
from retrieval.metrics import Scores
from utils.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

THUMBNAIL = 160  # pixels per side of an image: sharp at its size, small in the file
ROWS, PHOTOS = 12, 10


def write_photo_grid(
    path: Path,
    scores: Scores,
    gallery_labels: np.ndarray,
    names: Mapping[int, str] | Sequence[str],
    thumbnail: Callable[[str, int], np.ndarray],
) -> None:
    """Write a PNG with a row for each of the first ROWS classes: a query, drawn with a fixed seed, and its nearest photos.

    gallery_labels: (m,) int. names: names[label] = class name. thumbnail: ("query" or "gallery", index) → (H, W, 3) uint8.
    """
    generator = np.random.default_rng(0)
    every_class = np.unique(scores.query_labels)
    classes = every_class[:ROWS]
    queries = [int(generator.choice(np.flatnonzero(scores.query_labels == label))) for label in classes]
    nearest = scores.nearest[queries, :PHOTOS]
    heading = f"Queries of {len(classes)} of {len(every_class)} classes, each with its ten nearest photos, real-valued ranking"
    figure, axes = _empty_grid(len(classes), nearest.shape[1], heading)
    for row, (label, query, photos) in enumerate(zip(classes, queries, nearest, strict=True)):
        _draw_query(axes[row, 0], thumbnail("query", query), names[int(label)])
        for axis, photo in zip(axes[row, 1:], photos, strict=True):
            _draw_photo(axis, thumbnail("gallery", int(photo)), gallery_labels[photo] == label)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)


def _empty_grid(rows: int, photos: int, heading: str) -> tuple["Figure", np.ndarray]:
    """Figure and its axes (rows, 1 + photos), all blank."""
    from matplotlib.figure import Figure

    cell, names, top = 1.15, 1.3, 0.5  # inches
    width, height = names + cell * (photos + 1) + 0.2, top + cell * rows + 0.12
    figure = Figure(figsize=(width, height), facecolor="white")
    figure.text(0.12 / width, 1 - 0.25 / height, heading, fontsize=12, va="center", ha="left", weight="bold")
    axes = figure.subplots(rows, photos + 1, squeeze=False, width_ratios=[1.12] + [1] * photos)
    figure.subplots_adjust(names / width, 0.1 / height, 1 - 0.1 / width, 1 - top / height, 0.1, 0.1)
    for axis in axes.flat:
        axis.set_axis_off()
    return figure, axes


def _draw_query(axis: "Axes", image: np.ndarray, name: str) -> None:
    axis.imshow(image)
    axis.set_anchor("W")
    text = textwrap.fill(name.replace("_", " "), 14)
    axis.text(-0.1, 0.5, text, transform=axis.transAxes, ha="right", va="center", fontsize=10, parse_math=False)


def _draw_photo(axis: "Axes", image: np.ndarray, right: bool) -> None:
    """With a green frame and a tick, or a red frame and a cross."""
    colour = RIGHT if right else WRONG
    axis.imshow(image)
    axis.set_axis_on()
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set(color=colour, linewidth=3)
    box = {"boxstyle": "square,pad=0.15", "facecolor": colour, "edgecolor": "none"}
    font: dict[str, Any] = {"family": "DejaVu Sans", "fontsize": 13, "weight": "bold", "color": "white"}  # is with matplotlib
    axis.text(0.895, 0.88, "✓" if right else "✗", transform=axis.transAxes, ha="center", va="center", bbox=box, **font)
