"""Images made no larger than those of the published datasets, and notes on images that cannot be read."""

import contextlib
import io
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image, ImageOps

from datasets.images import FORMATS
from utils.text import one_line

JPEG_QUALITY = 95
DRAFT = 2  # a JPEG may be decoded at a fraction of its size, at least so many times the wanted one
KEPT_MODES = ("L", "RGB", "RGBA", "LA")  # other modes cannot be averaged
NOTES = ".unreadable.txt"  # below the dataset's folder: a line for each image that could not be read


@contextlib.contextmanager
def strict_decoding() -> Iterator[None]:
    """Within the block, in all threads, Pillow refuses images that may be decompression bombs, and prints no warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def shrunk(path: Path, side: int) -> bytes | None:
    """The image upright, with its shorter side `side` pixels long, in its own format; None if it is not larger.

    Raises ValueError if it cannot be read.
    """
    try:
        with Image.open(path, formats=FORMATS) as opened:
            return None if min(opened.size) <= side else _smaller(opened, side)
    except Exception as error:  # a broken file can make a decoder raise nearly anything
        raise ValueError(one_line(error).replace(repr(str(path)), "it")) from error


def _smaller(image: Image.Image, side: int) -> bytes | None:
    kind, scale = image.format, side / min(image.size)
    if image.mode.startswith(("I", "F")):
        return None  # 16 bits and more are scaled when they are read
    width, height = (max(side, round(length * scale)) for length in image.size)
    image.draft(None, (DRAFT * width, DRAFT * height))
    picture = ImageOps.exif_transpose(image)
    if picture.mode not in KEPT_MODES:
        picture = picture.convert("RGBA" if "transparency" in picture.info or picture.mode == "PA" else "RGB")
    if kind == "JPEG" and picture.mode != "L":
        picture = picture.convert("RGB")
    upright = (width, height) if (image.width < image.height) == (picture.width < picture.height) else (height, width)
    content = io.BytesIO()
    options = {"quality": JPEG_QUALITY} if kind == "JPEG" else {}
    picture.resize(upright, Image.Resampling.LANCZOS).save(content, kind, **options)
    return content.getvalue()


def note_unreadable(root: Path, target: str) -> None:
    """Add a line to the notes, for this run and later ones; several threads may do so at once."""
    with (root / NOTES).open("a", encoding="utf-8") as file:
        file.write(f"{target}\n")


def unreadable(root: Path, targets: Iterable[str]) -> list[str]:
    """`<target>: <fault>`, sorted, of the noted targets that still cannot be read."""
    notes = root / NOTES
    noted = notes.read_text(encoding="utf-8", errors="replace").split("\n") if notes.exists() else []
    faults = []
    for target in sorted(set(noted).intersection(targets)):
        try:
            shrunk(root / target, 1)  # decodes all of it
        except ValueError as error:
            faults.append(f"{target}: {error}")
    return faults
