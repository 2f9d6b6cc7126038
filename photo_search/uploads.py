"""Pictures that a browser sends: bytes → a drawing, or one line on what is wrong with them."""

import io

from PIL import Image

from datasets.images import is_heif, opened_within
from datasets.sketch_cleanup import dark_on_white
from utils.errors import InputError

LONGEST = 2048  # pixels; finer lines than this keeps are thickened anyway
MOST_PIXELS = 50_000_000  # what some 200 MB of memory hold; a phone's photo of a sheet of paper has 12 million
DRAWING_PIXELS = 2048 * 2048  # of a drawing as the page sends it; it is 512 x 512
PAD = 1024  # pixels that a picture on the pad may have along a side
MOVES = "That picture moves; its first frame was taken."


def picture_of(data: bytes, most_pixels: int = MOST_PIXELS) -> tuple[Image.Image, str | None]:
    """The picture in RGBA, at most LONGEST pixels along a side, and a notice to be shown with it, if any.

    Raises InputError if it is none, or one not read here.
    """
    try:
        picture, moves = opened_within(io.BytesIO(data), LONGEST, most_pixels)
    except InputError as error:
        raise InputError(_fault(data, error, most_pixels)) from error
    return picture, MOVES if moves else None


def for_the_pad(data: bytes) -> tuple[bytes, str | None]:
    """A PNG of what is drawn there, dark on white, and the notice. Raises InputError as `picture_of`, or if it is empty."""
    picture, notice = picture_of(data)
    drawn = dark_on_white(picture)
    drawn.thumbnail((PAD, PAD))
    file = io.BytesIO()
    drawn.save(file, "PNG")
    return file.getvalue(), notice


def _fault(data: bytes, error: InputError, most_pixels: int) -> str:
    if isinstance(error.__cause__, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"That picture is too large: more than {most_pixels // 10**6} million pixels. Make it smaller."
    if is_heif(data):
        return "HEIC and AVIF pictures are not read here. Save it as JPEG or PNG."
    return "That is not a readable picture. PNG, JPEG, GIF, WebP, BMP and TIFF are read."
