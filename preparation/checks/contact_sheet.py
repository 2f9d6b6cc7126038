"""Contact sheets: some images of each class, and photos that look the same, in one PNG file."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from datasets.images import decode
from preparation.checks.split_lists import SplitLists
from utils.errors import InputError
from utils.files import atomic_write

CLASSES, PAIRS, EACH = 24, 8, 5  # largest number of classes, of pairs, and of sketches and photos per class
CELL, TEXT, LETTERS = 72, 200, 26  # pixels; letters of a name that fit into TEXT


class Row(NamedTuple):
    """Lines of text and, right of them, images."""

    text: Sequence[str]
    files: Sequence[Path]


def save_contact_sheet(path: Path, rows: Sequence[Row], columns: int) -> None:
    """Save `rows` in so many columns; an image that cannot be read is a grey cell with a line."""
    width, height = TEXT + CELL * max((len(row.files) for row in rows), default=0), max(1, -(-len(rows) // columns))
    sheet = Image.new("RGB", (columns * width, height * CELL), "white")
    pencil, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for number, row in enumerate(rows):
        left, top = number // height * width, number % height * CELL
        text = "\n".join(line if len(line) <= LETTERS else f"…{line[-LETTERS:]}" for line in row.text)
        pencil.multiline_text((left + 4, top + 4), text, "black", font)
        for position, file in enumerate(row.files):
            sheet.paste(_cell(file), (left + TEXT + position * CELL, top))
    with atomic_write(path) as temporary:
        sheet.save(temporary, "PNG")


def dataset_rows(lists: SplitLists, pairs: Sequence[tuple[str, str]]) -> list[Row]:
    """Rows of some classes, unseen ones first, and of the first pairs of (training, gallery) photos."""
    unseen, seen = lists.unseen or [], lists.seen or []
    rows = []
    for side, names, others, keys in (
        ("unseen", unseen, seen, ("query_sketches", "gallery_photos")),
        ("seen", seen, unseen, ("train_sketches", "train_photos")),
    ):
        for label in _spread(range(len(names)), max(CLASSES // 2, CLASSES - len(others))):
            sketches, photos = (_of_class(lists, key, label) for key in keys)
            text = [names[label], f"{side}: {len(sketches):,} sketches,", f"{len(photos):,} photos"]
            rows.append(Row(text, [lists.split.root / path for path in _spread(sketches, EACH) + _spread(photos, EACH)]))
    for number, pair in enumerate(pairs[:PAIRS], start=1):
        text = [f"alike: {number} of {len(pairs):,}", *("/".join(path.split("/")[-2:]) for path in pair)]
        rows.append(Row(text, [lists.split.root / path for path in pair]))
    return rows


def _of_class(lists: SplitLists, key: str, label: int) -> list[str]:
    files = lists.files.get(key)
    return [files.paths[row] for row in np.flatnonzero(files.labels == label)] if files else []


def _spread(items: Sequence, count: int) -> list:
    """Up to `count` of the items, evenly spaced."""
    return [items[row] for row in np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int))]


def _cell(path: Path) -> Image.Image:
    try:
        return Image.fromarray(decode(path, CELL - 2))
    except InputError:
        cell = Image.new("RGB", (CELL - 2, CELL - 2), "#bbbbbb")
        ImageDraw.Draw(cell).line((0, 0, CELL, CELL), "#777777", 2)
        return cell
