"""Images made no larger than those of the published datasets, and notes on images that cannot be read."""

import contextlib
import io
import json
import warnings
from collections.abc import Iterable
from pathlib import Path

from PIL import Image, ImageOps

from datasets.images import FORMATS

JPEG_QUALITY = 95
DRAFT = 2  # a JPEG may be decoded at a fraction of its size, at least so many times the wanted one
KEPT_MODES = ("L", "RGB", "RGBA", "LA")  # other modes cannot be averaged
NOTES = ".unreadable.jsonl"  # below the dataset's folder: a line [target, fault] for each image


def shrunk(path: Path, side: int) -> bytes | None:
    """The image upright, with its shorter side `side` pixels long, in its own format; None if it is not larger.

    Raises ValueError if it cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as opened:
                return None if min(opened.size) <= side else _smaller(opened, side)
    except Exception as error:  # a broken file can make a decoder raise nearly anything
        raise ValueError(str(error)) from error


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


def note_unreadable(root: Path, target: str, fault: str) -> None:
    """Add a line to the notes; several processes may do so at once."""
    with (root / NOTES).open("a", encoding="utf-8") as file:
        file.write(f"{json.dumps([target, fault])}\n")


def unreadable(root: Path, targets: Iterable[str]) -> dict[str, str]:
    """{target: fault}, sorted, of the noted targets that still cannot be read."""
    noted = {}
    with contextlib.suppress(FileNotFoundError):
        for line in (root / NOTES).read_text(encoding="utf-8", errors="replace").split("\n"):
            with contextlib.suppress(ValueError, TypeError):  # a power failure may cut a line short
                target, fault = json.loads(line)
                noted[target] = str(fault)
    return {target: noted[target] for target in sorted(noted.keys() & set(targets)) if _is_unreadable(root / target)}


def _is_unreadable(path: Path) -> bool:
    try:
        shrunk(path, 1)  # decodes all of it
    except ValueError:
        return True
    return False
