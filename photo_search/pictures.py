"""Drawings and what they found, as one picture."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from datasets.images import decode
from photo_search.searching import Hit
from utils.errors import InputError
from utils.files import atomic_write

CELL, TEXT, GAP = 112, 16, 4  # pixels


def save_grid(file: Path, drawings: list[Image.Image], results: list[list[Hit]]) -> None:
    """A row for each drawing: itself, then its photos with their similarity, the best first."""
    columns = 1 + max((len(hits) for hits in results), default=0)
    sheet = Image.new("RGB", (columns * (CELL + GAP) + GAP, len(drawings) * (CELL + TEXT + GAP) + GAP), "white")
    pencil, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for row, (drawing, hits) in enumerate(zip(drawings, results, strict=True)):
        top = GAP + row * (CELL + TEXT + GAP)
        sheet.paste(_framed(drawing), (GAP, top))
        for column, hit in enumerate(hits, start=1):
            left = GAP + column * (CELL + GAP)
            sheet.paste(_photo(hit.path), (left, top))
            pencil.text((left + 2, top + CELL + 1), f"{hit.similarity:.3f}", "black", font)
    with atomic_write(file) as temporary:
        sheet.save(temporary, "PNG")


def _framed(drawing: Image.Image) -> Image.Image:
    paper = Image.new("RGBA", drawing.size, "white")
    paper.alpha_composite(drawing.convert("RGBA"))
    cell = Image.new("RGB", (CELL, CELL), "white")
    picture = paper.convert("RGB")
    picture.thumbnail((CELL - 2, CELL - 2))
    cell.paste(picture, ((CELL - picture.width) // 2, (CELL - picture.height) // 2))
    ImageDraw.Draw(cell).rectangle((0, 0, CELL - 1, CELL - 1), outline="grey")
    return cell


def _photo(path: str) -> Image.Image:
    try:
        return Image.fromarray(decode(path, CELL))
    except InputError:  # it was readable when it was indexed
        return Image.new("RGB", (CELL, CELL), "lightgrey")
