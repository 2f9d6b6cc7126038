"""Pictures that a browser sends: bytes → a drawing, or one line on what is wrong with them."""

import io

from PIL import Image

from datasets.drawings import dark_on_white
from datasets.images import opened_within
from utils.errors import InputError

LONGEST = 2048  # pixels; finer lines than this keeps are thickened anyway
MOST_PIXELS = 50_000_000  # what some 200 MB of memory hold; a phone's photo of a sheet of paper has 12 million
PAD = 1024  # pixels that a picture on the pad may have along a side
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis")
MOVES = "That picture moves; its first frame was taken."


def picture_of(data: bytes) -> tuple[Image.Image, str | None]:
    """The picture in RGBA, at most LONGEST pixels along a side, and a notice to be shown with it, if any.

    Raises InputError if it is none, or one not read here.
    """
    try:
        picture, moves = opened_within(io.BytesIO(data), LONGEST, MOST_PIXELS)
    except InputError as error:
        raise InputError(_fault(data, error)) from error
    return picture, MOVES if moves else None


def for_the_pad(data: bytes) -> tuple[bytes, str | None]:
    """A PNG of what is drawn there, dark on white, and the notice. Raises InputError as `picture_of`, or if it is empty."""
    picture, notice = picture_of(data)
    drawn = dark_on_white(picture)
    drawn.thumbnail((PAD, PAD))
    file = io.BytesIO()
    drawn.save(file, "PNG")
    return file.getvalue(), notice


def _fault(data: bytes, error: InputError) -> str:
    if isinstance(error.__cause__, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"That picture is too large: more than {MOST_PIXELS // 10**6} million pixels. Make it smaller."
    if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS:
        return "HEIC and AVIF pictures are not read here. Save it as JPEG or PNG."
    return "That is not a readable picture. PNG, JPEG, GIF, WebP, BMP and TIFF are read."
