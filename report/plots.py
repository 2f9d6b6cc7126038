"""The drawings of the report page: matplotlib figures as SVG that stands inside the page and takes its colours.

Axes and text are drawn in INK, which becomes the page's text colour, so that one drawing serves light and dark pages.
A unit of a figure is a CSS pixel. Every function returns safe markup; whatever text it is given is escaped.
"""

import colorsys
import contextlib
import io
import re
import warnings
from collections.abc import Iterator, Sequence

import numpy as np

from evaluation.result_table import RIGHT, WRONG
from report.analysis import Confusion
from report.text import cells, shortened
from retrieval.metrics import RECALL_LEVELS

INK, PAPER = "#0a0b0c", "#f9fafb"  # stand for the page's text and background colours
SERIES = ("#2f7fd1", "#d9761a")  # the first ranking, the second; readable on white and on black
OTHERS = "#8a8f98"  # gallery classes that no query has
STYLE = {
    "svg.fonttype": "none",  # text stays text: it can be searched, and the reader's fonts have letters that ours lack
    "font.size": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "legend.framealpha": 0,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}
LABEL = 26  # cells of a class name beside the confusion map
MANY_POINTS = 2000  # more are drawn as one picture


def precision_recall(curves: dict[str, np.ndarray], each_class: np.ndarray, alt: str) -> str:
    """One line per ranking, (101,) precision at RECALL_LEVELS, over a thin line for each class, (c, 101)."""
    with _style():
        figure, axis = _blank(480, 380)
        axis.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="interpolated precision")
        axis.plot(RECALL_LEVELS, each_class.T, color=INK, alpha=0.4 if len(each_class) < 40 else 0.15, linewidth=0.8)
        for number, (ranking, curve) in enumerate(curves.items()):
            style = {"color": SERIES[number % 2], "linestyle": ("-", "--")[number % 2]}
            axis.plot(RECALL_LEVELS, curve, linewidth=3, label=ranking, **style)
        axis.legend(loc="upper right", handlelength=3)
        return _svg(figure, "curves", alt)


def confusion_map(confusion: Confusion, names: Sequence[str], others: str, alt: str) -> str:
    """A row per query class, a column per gallery class; the cell is the fuller the larger the share, green if right.

    names: of the classes, in the order of the rows. others: of the last column, where there is one.
    """
    rows, columns = confusion.shares.shape
    cell, size = (26, 11) if rows <= 30 else (17, 11) if rows <= 60 else (11, 9)
    labels = [shortened(name, LABEL) for name in names] + [others] * confusion.has_others
    margin = 14 + 0.68 * size * max(map(cells, labels))
    both_sides = rows > 40  # so that no label is far from its cell
    width, height = (margin + (margin if both_sides else 14) + cell * count for count in (columns, rows))
    with _style():
        place = (margin / width, 1 - (margin + cell * rows) / height, cell * columns / width, cell * rows / height)
        figure, axis = _blank(width, height, place)
        axis.imshow(_cells(confusion), interpolation="none", aspect="auto")
        axis.grid(False)
        axis.tick_params(length=0, labelsize=size, top=True, labeltop=True, labelbottom=both_sides, labelright=both_sides)
        axis.set_yticks(range(rows), labels[:rows], parse_math=False)
        axis.set_xticks(range(columns), labels, parse_math=False, rotation=90, rotation_mode="anchor", va="center")
        for tick in axis.xaxis.get_major_ticks():
            tick.label1.set(ha="right")  # below the cells
            tick.label2.set(ha="left")  # above
        _rule(axis, rows, columns)
        if rows <= 30:
            _write_shares(axis, confusion.shares)
        return _svg(figure, "confusion", alt)


def _cells(confusion: Confusion) -> np.ndarray:
    """(rows, columns, 4) RGBA: opacity is the root of the share, which lets small shares show."""
    from matplotlib.colors import to_rgb

    picture = np.empty((*confusion.shares.shape, 4))
    picture[..., :3] = to_rgb(WRONG)
    diagonal = np.arange(len(confusion.labels))
    picture[diagonal, diagonal, :3] = to_rgb(RIGHT)
    picture[..., 3] = np.sqrt(confusion.shares)
    return picture


def _rule(axis, rows: int, columns: int) -> None:
    """Faint lines between the cells, and a frame."""
    style = {"color": INK, "alpha": 0.15, "linewidth": 0.5}
    axis.hlines(np.arange(rows + 1) - 0.5, -0.5, columns - 0.5, **style)
    axis.vlines(np.arange(columns + 1) - 0.5, -0.5, rows - 0.5, **style)
    axis.spines[:].set_visible(False)
    axis.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))


def _write_shares(axis, shares: np.ndarray) -> None:
    for row, column in zip(*np.nonzero(shares >= 0.01), strict=True):
        axis.text(column, row, f"{100 * shares[row, column]:.0f}", ha="center", va="center_baseline", fontsize=9.5)


def map_of_classes(points: np.ndarray, classes: np.ndarray, is_query: np.ndarray, alt: str) -> str:
    """Points in the plane, (p, 2): triangles are queries, dots photos, coloured by class, each class with its number.

    classes: (p,), counted from 0 as in `palette`; -1 for gallery classes that no query has, drawn grey and unnumbered.
    The points of class k are in groups whose ids end in "-k", for the page to pick out.
    """
    colours = palette(classes.max() + 1)
    with _style():
        figure, axis = _blank(680, 560, place=(0.01, 0.01, 0.98, 0.98))
        axis.set_axis_off()
        for number in np.unique(classes):  # ascending: the grey ones come first and lie below
            colour = OTHERS if number < 0 else colours[number]
            for kind, marker, size, edge in (("photo", "o", 16, "none"), ("query", "^", 30, INK)):
                here = points[(classes == number) & (is_query == (kind == "query"))]
                style = {"c": colour, "marker": marker, "s": size, "edgecolors": edge, "linewidths": 0.6, "alpha": 0.75}
                axis.scatter(here[:, 0], here[:, 1], **style, gid=f"{kind}-{number}")
        for number in np.unique(classes[classes >= 0]):
            place = np.median(points[classes == number], axis=0)
            _write_number(axis, number + 1, place, size=11 if len(colours) <= 60 else 8)
        return _svg(figure, "map", alt)


def _write_number(axis, number: int, place: np.ndarray, size: float) -> None:
    behind = {"boxstyle": "round,pad=0.15", "facecolor": PAPER, "edgecolor": "none", "alpha": 0.8}
    axis.text(*place, f"{number}", fontsize=size, weight="bold", ha="center", va="center", bbox=behind)


def agreement(first: np.ndarray, second: np.ndarray, names: Sequence[str], alt: str) -> str:
    """Per-query AP in one ranking against the other, (n,) each; names: of the two rankings."""
    with _style():
        figure, axis = _blank(450, 430)
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=f"AP, {names[0]}", ylabel=f"AP, {names[1]}", aspect="equal")
        axis.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=":")
        dots = {"s": 16, "alpha": 0.6, "c": SERIES[0], "edgecolors": "none", "rasterized": len(first) > MANY_POINTS}
        axis.scatter(first, second, **dots)
        axis.text(0.97, 0.03, f"{names[0]} better", ha="right", va="bottom", fontsize=11)
        axis.text(0.03, 0.97, f"{names[1]} better", ha="left", va="top", fontsize=11)
        return _svg(figure, "agreement", alt)


def palette(count: int) -> list[str]:
    """Colours of `count` classes: hues spread evenly, neighbours in number far apart, dark and light ones in turn.

    Each has a contrast of 3 or more to a white page and to a black one.
    """
    turns = (np.arange(count) * 0.61803) % 1
    luminances = np.resize([0.15, 0.29, 0.21], count)
    return [_colour(hue, luminance) for hue, luminance in zip(turns, luminances, strict=True)]


def _colour(hue: float, luminance: float) -> str:
    """The lively colour of this hue, in turns, whose relative luminance (WCAG's) is the nearest from below."""
    for lightness in np.linspace(0.8, 0.1, 141):
        rgb = np.round(255 * np.array(colorsys.hls_to_rgb(hue, lightness, 0.75))).astype(int)
        if np.where(rgb < 11, rgb / 3294.6, ((rgb / 255 + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722] <= luminance:
            break
    return "#" + "".join(f"{value:02x}" for value in rgb)


@contextlib.contextmanager
def _style() -> Iterator[None]:
    """Our settings on top of matplotlib's own, whatever the user's are; no words about letters its font lacks."""
    import matplotlib

    with warnings.catch_warnings(), matplotlib.rc_context():
        warnings.filterwarnings("ignore", message="(?s).*[Gg]lyph.*missing")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def _blank(width: float, height: float, place: Sequence[float] = (0.12, 0.13, 0.85, 0.84)):
    """Figure of so many pixels and its axes; place: their left, bottom, width and height in shares of the figure's."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72), dpi=144)
    FigureCanvasSVG(figure)
    return figure, figure.add_axes(place)


def _svg(figure, name: str, alt: str) -> str:
    """The figure as an <svg> element: ids begin with the name, colours of the page are put in for their stand-ins."""
    import matplotlib
    from markupsafe import Markup, escape

    stream = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):  # the same figure gives the same bytes
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    text = stream.getvalue()
    _, _, width, height = re.search(r'viewBox="([^"]*)"', text)[1].split()
    inside = re.sub(r"<style.*?</style>", "", text[text.index(">", text.index("<svg")) + 1 :], flags=re.DOTALL)
    # in tags only: what stands between them is text from users' files ("<" and ">" within it are escaped)
    inside = re.sub(r"<[^>]*>", lambda tag: _tag_for_page(tag[0], name), inside)
    size = f'viewBox="0 0 {width} {height}" style="width:{float(width):.0f}px"'
    return Markup(f'<svg id="chart-{name}" role="img" aria-label="{escape(alt)}" {size}>{inside}')


def _tag_for_page(tag: str, name: str) -> str:
    tag = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", tag)
    tag = re.sub(r"font-family: [^;\"]*", "font-family: inherit", tag)
    return tag.replace(INK, "currentColor").replace(PAPER, "var(--paper)").replace("xlink:href", "href")
