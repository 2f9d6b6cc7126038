"""A picture of a dataset: a few sketches and photos of its classes, and photos that are suspiciously alike."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from datasets.images import decode
from preparation.checks.split_lists import SplitLists
from utils.errors import InputError
from utils.files import atomic_write

CLASSES = 24  # shown, evenly chosen
COLUMNS = 2  # of classes
EACH = 5  # sketches, and photos, of a class
CELL, LABEL, GAP, COUNTS = 72, 20, 10, 280  # pixels; the last for what stands behind a class's name
PAIRS, PAIRS_A_ROW = 8, 4
ROW, PAIR_ROW = CELL + LABEL + GAP, 2 * CELL + 2 * LABEL + GAP
WIDTH = COLUMNS * (2 * EACH * CELL + 3 * GAP) + GAP
INK, FAINT, BAD, FRAME = "black", "#777777", "#bbbbbb", "#dddddd"


def save_contact_sheet(path: Path, lists: SplitLists, pairs: list[tuple[str, str]]) -> None:
    """Save to `path`, a PNG: rows of classes, unseen first, and at the foot up to PAIRS `pairs` of alike photos.

    An image that cannot be read is a crossed cell. Raises InputError if `path` cannot be written.
    """
    classes, shown = _chosen(lists), pairs[:PAIRS]
    head = LABEL + GAP
    foot = head + -(-len(classes) // COLUMNS) * ROW
    sheet = _Sheet(foot + GAP + (LABEL + -(-len(shown) // PAIRS_A_ROW) * PAIR_ROW if shown else 0), lists)
    total = len(lists.seen or []) + len(lists.unseen or [])
    heading = f"{lists.split.dataset.name}, {lists.split.name}: {len(classes)} of {total} classes"
    sheet.write((GAP, GAP // 2), heading)
    for number, (name, side, label) in enumerate(classes):
        row, column = divmod(number, COLUMNS)
        sheet.draw_class((GAP + column * (WIDTH // COLUMNS), head + row * ROW), name, side, label)
    if shown:
        sheet.write(
            (GAP, foot), f"photos that look the same, training left and above, gallery right and below: {len(pairs):,} in all"
        )
    for number, pair in enumerate(shown):
        row, column = divmod(number, PAIRS_A_ROW)
        sheet.draw_pair((GAP + column * (WIDTH // PAIRS_A_ROW), foot + LABEL + row * PAIR_ROW), pair)
    with atomic_write(path) as temporary:
        sheet.image.save(temporary, "PNG")


class _Sheet:
    """A white page, and what is drawn on it; corners are (left, top) in pixels."""

    def __init__(self, height: int, lists: SplitLists):
        self.image, self.lists = Image.new("RGB", (WIDTH, height), "white"), lists
        self.pencil, self.font = ImageDraw.Draw(self.image), ImageFont.load_default(13)

    def write(self, corner: tuple[float, float], text: str, colour: str = INK) -> None:
        self.pencil.text(corner, text, colour, self.font)

    def draw_class(self, corner: tuple[int, int], name: str, side: str, label: int) -> None:
        """Its name, its counts, and below them sketches and photos of it."""
        left, top = corner
        keys = ("query_sketches", "gallery_photos") if side == "unseen" else ("train_sketches", "train_photos")
        of_class = [_of_class(self.lists, key, label) for key in keys]
        name = _fitting(name, self.font, WIDTH // COLUMNS - COUNTS)
        self.write(corner, name)
        counts = f"{side}: {len(of_class[0]):,} sketches, {len(of_class[1]):,} photos"
        self.write((left + self.font.getlength(name) + GAP, top), counts, FAINT)
        for start, paths in zip((left, left + EACH * CELL + GAP), of_class, strict=True):
            for position, path in enumerate(_spread(paths, EACH)):
                self.image.paste(_cell(self.lists.split.root / path, CELL - 2), (start + position * CELL, top + LABEL - 2))

    def draw_pair(self, corner: tuple[int, int], pair: tuple[str, str]) -> None:
        """Two photos side by side, and the names of their files and folders below."""
        left, top = corner
        for position, path in enumerate(pair):
            self.image.paste(_cell(self.lists.split.root / path, 2 * CELL - 2), (left + position * 2 * CELL, top))
            name = _fitting("/".join(path.split("/")[-2:]), self.font, WIDTH // PAIRS_A_ROW - 2 * GAP)
            self.write((left, top + 2 * CELL + position * (LABEL - 4)), name)


def _chosen(lists: SplitLists) -> list[tuple[str, str, int]]:
    """(name, side, id) of up to CLASSES classes, the unseen ones first: of each side half, or all it has."""
    unseen, seen = lists.unseen or [], lists.seen or []
    half = CLASSES // 2
    share = max(half, CLASSES - len(seen)), max(half, CLASSES - len(unseen))
    return [
        (names[row], side, row)
        for side, names, count in (("unseen", unseen, share[0]), ("seen", seen, share[1]))
        for row in np.unique(np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int)).tolist()
    ]


def _of_class(lists: SplitLists, key: str, number: int) -> list[str]:
    files = lists.files.get(key)
    return [files.paths[row] for row in np.flatnonzero(files.labels == number)] if files else []


def _spread(paths: list[str], count: int) -> list[str]:
    """Up to `count` of them, evenly."""
    return [paths[row] for row in np.linspace(0, len(paths) - 1, min(count, len(paths))).round().astype(int)]


def _fitting(text: str, font: ImageFont.ImageFont, room: float) -> str:
    """`text`, its beginning cut off if it takes more than `room` pixels."""
    if font.getlength(text) <= room:
        return text
    while text and font.getlength("…" + text) > room:
        text = text[1:]
    return "…" + text


def _cell(path: Path, side: int) -> Image.Image:
    """The image, framed for the sake of white ones; or a crossed cell."""
    try:
        cell, lines = Image.fromarray(decode(str(path), side)), []
    except InputError:
        cell, lines = Image.new("RGB", (side, side), BAD), [(0, 0, side, side), (0, side, side, 0)]
    pencil = ImageDraw.Draw(cell)
    for line in lines:
        pencil.line(line, FAINT, 2)
    pencil.rectangle((0, 0, side - 1, side - 1), outline=FRAME)
    return cell
