"""Pictures sent by a browser: bytes → a drawing, or one line on what is wrong with them."""

import io

from PIL import Image

from datasets.images import MissingReader, opened_within
from datasets.sketch_cleanup import dark_on_white
from utils.errors import InputError

MAX_SIDE = 2048  # pixels; lines that this size would lose are thickened anyway
MAX_PIXELS = 50_000_000  # some 200 MB in memory; a phone's photo has 12 million
DRAWING_PIXELS = 2048 * 2048  # limit for a drawing made on the page, which sends 512 x 512
PAD_SIDE = 1024  # pixels of an uploaded picture on the pad
FIRST_FRAME = "The picture is animated; its first frame was taken."


def decode_picture(data: bytes, max_pixels: int = MAX_PIXELS) -> tuple[Image.Image, str | None]:
    """The picture in RGBA, at most MAX_SIDE pixels along a side, and a notice to show with it, if any.

    Raises InputError if it is too large or no readable picture.
    """
    try:
        picture, is_animated = opened_within(io.BytesIO(data), MAX_SIDE, max_pixels)
    except InputError as error:
        raise InputError(_fault(error, max_pixels)) from error
    return picture, FIRST_FRAME if is_animated else None


def extract_drawing(data: bytes) -> tuple[bytes, str | None]:
    """The drawing in a picture, dark on white, as PNG, and the notice.

    Raises InputError as `decode_picture`, or if the picture is empty.
    """
    picture, notice = decode_picture(data)
    drawing = dark_on_white(picture)
    drawing.thumbnail((PAD_SIDE, PAD_SIDE))
    file = io.BytesIO()
    drawing.save(file, "PNG")
    return file.getvalue(), notice


def _fault(error: InputError, max_pixels: int) -> str:
    if isinstance(error.__cause__, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"The picture is too large: more than {max_pixels // 10**6} million pixels. Make it smaller."
    if isinstance(error.__cause__, MissingReader):
        return f"Not read by this server: {error.__cause__}. Or save the picture as JPEG or PNG."
    return "The file is not a readable picture. PNG, JPEG, GIF, WebP, BMP, TIFF, HEIC and AVIF are supported."
