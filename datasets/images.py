"""One image file → one array of bytes. All that a worker process does."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from utils.errors import InputError
from utils.text import one_line

# Each is decoded within this process; others call programs (EPS calls Ghostscript) or are never photos.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
MOVING = ("GIF", "PNG", "WEBP")  # others with several frames are pages, or one photo at several sizes
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis")
# A JPEG with both sides this long is decoded at 1/2, 1/4 or 1/8, as long as so many times the wanted side is left for the
# filter to work on: several times as fast. The published datasets' files are smaller, and read to the last bit as ever.
LARGE, DRAFT_MARGIN = 1024, 2
ORIENTATION = 0x0112  # the tag, of EXIF as of TIFF; its values, and what sets the image upright:
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BITS_PER_SAMPLE, PHOTOMETRIC, BLACK_IS_ZERO = 258, 262, 1  # of TIFF
# Pillow gives the transparent colour of these PNG files as it stands in the file, not as the pixels are after decoding.
WITHOUT_TRANSPARENT_COLOUR = ("L;2", "L;4", "I;16B", "RGB;16B")


def decode(path: Path, side: int) -> np.ndarray:
    """RGB, (side, side, 3) uint8, upright, stretched to the square with an antialiased bilinear filter if it has another size.

    Transparent pixels show white paper; of a moving picture the first frame is taken. Raises InputError naming the file if it
    is missing, truncated, no image, of a kind not read here, or of more pixels than Pillow holds safe.
    """
    with _read(path) as image:
        return _square(image, side)


def opened(path: str | os.PathLike) -> Image.Image:
    """The picture as it is, upright, in RGBA. Raises InputError as `decode` does."""
    with _read(path) as image:
        return _upright_rgba(image)


def opened_within(source: str | os.PathLike | BinaryIO, longest: int, most_pixels: int) -> tuple[Image.Image, bool]:
    """The picture, upright, in RGBA, its longer side reduced to at most `longest` pixels; and whether it is a moving one.

    Nothing is written to standard error's file, so threads may do this at once. Raises InputError as `decode` does, and before
    anything is decoded if it has more than `most_pixels`.
    """
    with _read(source) as image:
        if image.width * image.height > most_pixels:
            raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
        moves = image.format in MOVING and getattr(image, "is_animated", False)
        return _upright_rgba(image, longest), moves


def _upright_rgba(image: Image.Image, longest: int | None = None) -> Image.Image:
    """Decoded; its longer side reduced to at most `longest` pixels, if given."""
    if longest is not None:
        image.draft(None, (longest, longest))
    _require_known_values(image)
    image.load()
    turn = UPRIGHT.get(_orientation(image))  # after loading, for a TIFF file is upright by then
    image = _in_8_bits(image) if image.mode.startswith("I") else image
    if longest is not None and image.mode == "RGB" and "transparency" not in image.info:  # before it takes as much memory again
        image.thumbnail((longest, longest), Image.Resampling.BILINEAR)
    image = image.convert("RGBA")
    if longest is not None:
        image.thumbnail((longest, longest), Image.Resampling.BILINEAR)
    return image if turn is None else image.transpose(turn)


@contextlib.contextmanager
def _read(path: str | os.PathLike | BinaryIO) -> Iterator[Image.Image]:
    """What goes wrong with the file in the block is told as InputError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damage that does not matter, in EXIF say
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if isinstance(path, (str, os.PathLike)) and not os.path.isfile(path):  # a pipe would be waited for
                raise IsADirectoryError("it is a folder") if os.path.isdir(path) else FileNotFoundError("no such file")
            with Image.open(path, formats=FORMATS) as image:
                yield image
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        size = str(error).partition(", could")[0]  # the rest speaks of attacks
        raise InputError(f"{path}: too large ({size}); make the image smaller, or leave it out") from error
    except Exception as error:  # a broken file can make a decoder raise nearly anything
        if isinstance(error, UnidentifiedImageError) and is_heif(_head(path)):
            raise InputError(f"{path}: HEIC and AVIF images are not read here; save it as JPEG or PNG") from error
        raise InputError(f"{path}: not a readable image ({one_line(error)}); replace it, or leave it out") from error


def is_heif(head: bytes) -> bool:
    """Whether a file that begins so is HEIC or AVIF."""
    return head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS


def _head(source: str | os.PathLike | BinaryIO) -> bytes:
    with contextlib.suppress(OSError):
        if isinstance(source, (str, os.PathLike)):
            with open(source, "rb") as file:
                return file.read(12)
        source.seek(0)
        return source.read(12)
    return b""


def _square(image: Image.Image, side: int) -> np.ndarray:
    is_large = min(image.size) >= LARGE
    draft = image.draft(None, (DRAFT_MARGIN * side, DRAFT_MARGIN * side)) if is_large else None
    box = draft[1] if draft else None  # the reduced image is rounded up; what it shows ends here
    _require_known_values(image)
    with _silenced() if image.tile and image.tile[0][0] == "libtiff" else contextlib.nullcontext():
        image.load()
    turn = UPRIGHT.get(_orientation(image))  # after loading, for a TIFF file is upright by then
    image = _in_8_bits(image) if image.mode.startswith("I") else _on_white(image)
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BILINEAR, box=box)
    return np.array(image if turn is None else image.transpose(turn))


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Of libtiff, which writes about damage to standard error itself."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return 1


def _require_known_values(image: Image.Image) -> None:
    """Raise ValueError where Pillow does not say which value is white, or which one is transparent."""
    if "transparency" in image.info and image.tile and image.tile[0][3] in WITHOUT_TRANSPARENT_COLOUR:
        raise ValueError("a transparent colour in other than 8 bits; save it with an alpha channel")
    is_16_bit = image.mode.startswith("I;16")
    if image.format == "TIFF" and is_16_bit:
        is_16_bit = (image.tag_v2[BITS_PER_SAMPLE], image.tag_v2[PHOTOMETRIC]) == ((16,), BLACK_IS_ZERO)
    if image.mode == "I":  # how PPM comes, and PNG in older versions of Pillow
        is_16_bit = image.format in ("PPM", "PNG")
    if image.mode[0] in "IF" and not is_16_bit:
        raise ValueError(f"its {image.format} values of mode {image.mode} have no known white; save it with 8 bits")


def _in_8_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits, which Pillow would cut off at 255, as RGB."""
    values = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(paper, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
