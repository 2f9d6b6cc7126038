"""Photos and sketches made no larger than the published datasets have them."""

import io
import warnings
from pathlib import Path

from PIL import Image, ImageOps

from datasets.images import FORMATS

JPEG_QUALITY = 95
ROOM = 2  # a JPEG is decoded at a fraction of its size where that leaves so many times the wanted side
KEPT_MODES = ("L", "RGB", "RGBA", "LA")  # the others cannot be averaged


def shrunk(image: Path | bytes, side: int) -> bytes | None:
    """The same picture, upright, with its shorter side `side` pixels long, in the format it came in; None if it is no larger.

    The proportions stay: what reads it stretches it to a square anyway. Raises ValueError if it cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image, formats=FORMATS) as opened:
                return None if min(opened.size) <= side else _smaller(opened, side)
    except Exception as error:  # a broken file can make a decoder raise nearly anything
        raise ValueError(str(error)) from error


def _smaller(image: Image.Image, side: int) -> bytes | None:
    kind, scale = image.format, side / min(image.size)
    if image.mode.startswith(("I", "F")):
        return None  # 16 bits and more are scaled when they are read
    size = tuple(max(side, round(length * scale)) for length in image.size)
    image.draft(None, tuple(ROOM * length for length in size))
    picture = ImageOps.exif_transpose(image)
    if picture.mode not in KEPT_MODES:
        picture = picture.convert("RGBA" if "transparency" in picture.info or picture.mode == "PA" else "RGB")
    if kind == "JPEG" and picture.mode != "L":
        picture = picture.convert("RGB")
    upright = size if (image.width < image.height) == (picture.width < picture.height) else size[::-1]
    content = io.BytesIO()
    picture.resize(upright, Image.Resampling.LANCZOS).save(content, kind, **({"quality": JPEG_QUALITY} if kind == "JPEG" else {}))
    return content.getvalue()
