"""Drawings and the photos found for them, as one picture."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from datasets.images import decode, on_white
from photo_search.searching import Hit
from photo_search.shards import read_photo
from photo_search.store import PhotoFile
from utils.errors import InputError
from utils.files import atomic_write

CELL, TEXT, GAP = 112, 16, 4  # pixels


def save_grid(file: Path, drawings: list[Image.Image], results: list[list[Hit]]) -> None:
    """Write a PNG with a row for each drawing: the drawing, then its photos with their similarity, the most similar first."""
    columns = 1 + max((len(hits) for hits in results), default=0)
    sheet = Image.new("RGB", (columns * (CELL + GAP) + GAP, len(drawings) * (CELL + TEXT + GAP) + GAP), "white")
    captions = ImageDraw.Draw(sheet)
    for row, (drawing, hits) in enumerate(zip(drawings, results, strict=True)):
        top = GAP + row * (CELL + TEXT + GAP)
        sheet.paste(_framed(drawing), (GAP, top))
        for column, hit in enumerate(hits, start=1):
            left = GAP + column * (CELL + GAP)
            sheet.paste(_photo(hit.photo), (left, top))
            more = f"  +{len(hit.duplicates)}" if hit.duplicates else ""  # near-duplicates
            captions.text((left + 2, top + CELL + 1), f"{hit.similarity:.3f}{more}", "black", font_size=12)
    with atomic_write(file) as temporary:
        sheet.save(temporary, "PNG")


def _framed(drawing: Image.Image) -> Image.Image:
    return ImageOps.expand(ImageOps.pad(on_white(drawing), (CELL - 2, CELL - 2), color="white"), 1, "grey")


def _photo(photo: PhotoFile) -> Image.Image:
    try:
        return Image.fromarray(decode(read_photo(photo) if photo.shard else photo.path, CELL))
    except (InputError, OSError):  # it was readable when it was indexed
        return Image.new("RGB", (CELL, CELL), "lightgrey")
