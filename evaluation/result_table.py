"""Retrieval results as people read them: a printed table, a JSON file, a picture of the first ten photos."""

import json
import os
import textwrap

import numpy as np

from retrieval.metrics import METRICS
from utils.errors import InputError
from utils.files import atomic_write

RIGHT, WRONG = "#1a8f3c", "#c62828"
THUMBNAIL = 160  # pixels a side of an image in the grid: sharp at its size, small in the file


def format_table(results):
    """One line per definition, one column per ranking. results: {"real": Scores.summary(), "hash": ...}, either or both.

    Returns text below 80 columns, without a final line break.
    """
    rankings = list(results)
    width = max(len(figure.text) for figure in METRICS.values())
    lines = [f"{'':{width}}" + "".join(f"{ranking:>9}" for ranking in rankings)]
    lines.append("-" * len(lines[0]))
    for key, figure in METRICS.items():
        lines.append(f"{figure.text:{width}}" + "".join(f"{results[ranking][key]:>9.4f}" for ranking in rankings))
    return "\n".join(lines)


def write_results(path, results):
    """Write the dict as JSON; the file appears whole or not at all. Raises InputError if it cannot be written."""
    text = json.dumps(results, indent=2, allow_nan=False, ensure_ascii=False, default=_plain) + "\n"
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def retrieval_grid(path, query_images, retrieved, correct, titles=None, heading=None):
    """PNG: a row per sketch with its first photos; right ones framed green with a tick, wrong ones red with a cross.

    path: PNG to write, whole or not at all. query_images: rows images (H, W, 3) uint8, THUMBNAIL a side is plenty.
    retrieved: rows lists of such images, best first, usually ten each. correct: bool (rows, photos). titles: class name of
    each sketch, printed at the left. heading: one line above all. Raises InputError on lists that do not fit together.
    """
    correct = np.asarray(correct, dtype=bool)
    photos = max((len(row) for row in retrieved), default=0)
    if not (len(query_images) == len(retrieved) == len(correct)) or photos == 0 or correct.shape[1:] != (photos,):
        raise InputError(
            f"the grid has {len(query_images)} sketches, {len(retrieved)} rows of up to {photos} photos and marks of "
            f"shape {correct.shape}; give one row of photos and of marks per sketch"
        )
    figure, axes = _empty_grid(len(query_images), photos, heading)
    for row, (sketch, found) in enumerate(zip(query_images, retrieved, strict=True)):
        _draw_sketch(axes[row, 0], sketch, titles[row] if titles else "")
        for axis, photo, right in zip(axes[row, 1:], found, correct[row], strict=False):
            _draw_photo(axis, photo, right)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)


def _empty_grid(rows, photos, heading):
    """Figure and its axes (rows, 1 + photos), all blank."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cell, names, top = 1.15, 1.3, 0.5 if heading else 0.12  # inches
    width, height = names + cell * (photos + 1) + 0.2, top + cell * rows + 0.12
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    if heading:
        figure.text(0.12 / width, 1 - 0.25 / height, heading, fontsize=12, va="center", ha="left", weight="bold")
    axes = figure.subplots(rows, photos + 1, squeeze=False, width_ratios=[1.12] + [1] * photos)
    figure.subplots_adjust(names / width, 0.1 / height, 1 - 0.1 / width, 1 - top / height, 0.1, 0.1)
    for axis in axes.flat:
        axis.set_axis_off()
    return figure, axes


def _draw_sketch(axis, image, title):
    axis.imshow(image)
    axis.set_anchor("W")
    name = textwrap.fill(title.replace("_", " "), 14)
    axis.text(-0.1, 0.5, name, transform=axis.transAxes, ha="right", va="center", fontsize=10)


def _draw_photo(axis, image, right):
    colour = RIGHT if right else WRONG
    axis.imshow(image)
    axis.set_axis_on()
    axis.set(xticks=[], yticks=[])
    for edge in axis.spines.values():
        edge.set(color=colour, linewidth=3)
    # drawn, not typed: a font need not have these signs
    badge = axis.inset_axes([0.74, 0.74, 0.26, 0.26])
    badge.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[], facecolor=colour)
    for edge in badge.spines.values():
        edge.set_visible(False)
    tick = [([0.22, 0.42, 0.8], [0.5, 0.26, 0.76])]
    cross = [([0.25, 0.75], [0.25, 0.75]), ([0.25, 0.75], [0.75, 0.25])]
    for x, y in tick if right else cross:
        badge.plot(x, y, color="white", linewidth=2.2, solid_capstyle="round", solid_joinstyle="round")


def _plain(value):
    """What json does not know: NumPy and torch numbers and arrays, and paths."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"cannot write a {type(value).__name__} as JSON")
