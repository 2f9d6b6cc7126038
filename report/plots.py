"""Charts of the report page, drawn by matplotlib as SVG on white, which is readable on light and dark pages.

A unit of a figure is a CSS pixel. The functions return markup: an <img>, or for the map an <svg> whose groups a script can fade.
"""

import base64
import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from retrieval.metrics import RECALL_LEVELS

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RIGHT, WRONG = "#1a8f3c", "#c62828"
SERIES = ("#2f7fd1", "#d9761a")  # the first and the second ranking; readable on white and on black
OTHERS = "#8a8f98"  # gallery classes without a query
# neighbours differ; each has a contrast of at least 3 to white and to black
COLOURS = """#d21e1e #6a8fea #598a14 #c01bab #17a38c #b36c19 #734de6 #1ea718 #e33d75 #1870a5 #8d9816 #c241e4 #127b46 #e66e4f
#6772e9 #387811 #e85eba #158c91 #846713 #ad79ec #159129 #d21e35 #5592e7 #668813""".split()  # noqa: SIM905
GRID: dict[str, Any] = {"color": "#dcdfe3", "linewidth": 0.5}
STYLE = {
    "svg.fonttype": "none",  # text stays text: the reader's fonts have letters that DejaVu Sans lacks
    "svg.hashsalt": "report",  # the same figure gives the same bytes
    "font.size": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
}
MANY_POINTS = 2000  # more are drawn as one bitmap


def precision_recall(curves: dict[str, np.ndarray], each_class: np.ndarray, alt: str) -> "Markup":
    """One line per ranking, (101,) precision at RECALL_LEVELS, over a thin line per class, (c, 101)."""
    with _chart(480, 380) as (figure, axis):
        axis.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="interpolated precision")
        axis.grid(**GRID)
        axis.plot(RECALL_LEVELS, each_class.T, color="black", alpha=0.4 if len(each_class) < 40 else 0.15, linewidth=0.8)
        for number, (ranking, curve) in enumerate(curves.items()):
            style: dict[str, Any] = {"color": SERIES[number % 2], "linestyle": ("-", "--")[number % 2]}
            axis.plot(RECALL_LEVELS, curve, linewidth=3, label=ranking, **style)
        axis.legend(loc="upper right", handlelength=3)
        return _image(figure, alt)


def class_map(points: np.ndarray, classes: np.ndarray, is_query: np.ndarray) -> "Markup":
    """Points in the plane, (p, 2): triangles are queries, dots photos, coloured by class, each class with its number.

    classes: (p,), counted from 0; -1 for gallery classes without a query, grey and unnumbered. The points of
    class k are the groups `map-query-k` and `map-photo-k`.
    """
    from markupsafe import Markup

    with _chart(680, 560, place=(0.01, 0.01, 0.98, 0.98)) as (figure, axis):
        axis.set_axis_off()
        for number in np.unique(classes):  # ascending: the grey ones come first and lie below
            for kind, marker, size, edge in (("photo", "o", 16, "none"), ("query", "^", 30, "black")):
                here = points[(classes == number) & (is_query == (kind == "query"))]
                style: dict[str, Any] = {"marker": marker, "s": size, "edgecolors": edge, "linewidths": 0.6, "alpha": 0.75}
                axis.scatter(here[:, 0], here[:, 1], c=colour(number), **style, gid=f"map-{kind}-{number}")
        behind: dict[str, Any] = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
        font: dict[str, Any] = {"fontsize": 11 if classes.max() < 60 else 8, "weight": "bold", "ha": "center", "va": "center"}
        for number in np.unique(classes[classes >= 0]):
            x, y = np.median(points[classes == number], axis=0)
            axis.text(x, y, f"{number + 1}", bbox=behind, **font)
        return Markup(_svg(figure))


def agreement(first: np.ndarray, second: np.ndarray, names: Sequence[str], alt: str) -> "Markup":
    """Per-query AP in one ranking against the other, (n,) each; names: of the two rankings."""
    with _chart(450, 430) as (figure, axis):
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=f"AP, {names[0]}", ylabel=f"AP, {names[1]}", aspect="equal")
        axis.grid(**GRID)
        axis.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle=":")
        axis.scatter(first, second, s=16, alpha=0.6, c=SERIES[0], edgecolors="none", rasterized=len(first) > MANY_POINTS)
        axis.text(0.97, 0.03, f"{names[0]} better", ha="right", va="bottom", fontsize=11)
        axis.text(0.03, 0.97, f"{names[1]} better", ha="left", va="top", fontsize=11)
        return _image(figure, alt)


def colour(number: int) -> str:
    """The colour of a class of the map; -1: of the classes without a query."""
    return OTHERS if number < 0 else COLOURS[number % len(COLOURS)]


@contextlib.contextmanager
def _chart(
    width: float, height: float, place: tuple[float, float, float, float] = (0.12, 0.13, 0.85, 0.84)
) -> Iterator[tuple["Figure", "Axes"]]:
    """Figure of this size in pixels and its axes; place: their left, bottom, width and height as fractions of the figure's.

    Within, STYLE on matplotlib's defaults replaces the user's settings, and missing letters of its font cause no warnings.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with warnings.catch_warnings(), matplotlib.rc_context():
        warnings.filterwarnings("ignore", message="(?s).*[Gg]lyph.*missing")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(width / 72, height / 72), dpi=144)
        yield figure, figure.add_axes(place)


def _svg(figure: "Figure") -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = stream.getvalue()
    return text[text.index("<svg") :]


def _image(figure: "Figure", alt: str) -> "Markup":
    """The figure as an <img>, which keeps its ids and the text of users' files out of the page."""
    from markupsafe import Markup

    uri = "data:image/svg+xml;base64," + base64.b64encode(_svg(figure).encode("utf-8", "replace")).decode("ascii")
    tag = Markup('<img class="chart" width="{:.0f}" src="{}" alt="{}">')
    return tag.format(72 * figure.get_figwidth(), uri, alt)
