"""One image file → pixels. The only place that reads image files: formats, orientation, transparency, bit depth, errors."""

import contextlib
import importlib.metadata
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError, features

from utils.errors import InputError
from utils.text import one_line

# The formats read, all decoded within this process; others call programs (EPS calls Ghostscript) or are never photos.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
ANIMATED_FORMATS = ("GIF", "PNG", "WEBP", "AVIF")  # several frames of another format are pages, or one photo at several sizes
# HEIC is read by the optional package pillow-heif, which no longer reads AVIF; Pillow itself does, since 11.3.
HEIF_SUFFIXES = {".heic": "HEIC", ".heif": "HEIC", ".hif": "HEIC", ".avif": "AVIF"}
PILLOW_HEIF = (1, 5)  # older versions decode a file that claims fewer pixels than it has
INSTALL = {"HEIC": "pip install 'pillow-heif>=1.5'", "AVIF": "pip install 'pillow>=11.3'"}
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
AVIF_BRANDS = {b"avif", b"avis"}
# A JPEG with both sides this long is decoded at 1/2, 1/4 or 1/8 of its size, which is several times as fast, but never at less
# than DRAFT_MARGIN times the wanted side. The published datasets' files are smaller: their pixels do not depend on this.
LARGE, DRAFT_MARGIN = 1024, 2
ORIENTATION = 0x0112  # tag of EXIF and TIFF
UPRIGHT = {  # the operation that turns an image of each orientation upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BITS_PER_SAMPLE, PHOTOMETRIC, BLACK_IS_ZERO = 258, 262, 1  # TIFF tags and a value
# In PNG files of these modes, Pillow reports the transparent colour in the file's values, not in those of the decoded pixels.
WITHOUT_TRANSPARENT_COLOUR = ("L;2", "L;4", "I;16B", "RGB;16B")
Fit = Callable[[Image.Image], Image.Image]  # an RGB image → another of the size that a network expects


class MissingReader(ImportError):
    """The library that reads this kind of image is not installed, or too old."""


def decode(source: str | os.PathLike | BinaryIO, side: int, fit: Fit | None = None) -> np.ndarray:
    """RGB pixels (side, side, 3) uint8, upright, stretched to the square by an antialiased bilinear filter, or made by `fit`.

    Transparent pixels become white. Of an animation the first frame is read. Raises InputError with the file's name if it is
    missing, truncated, not an image, of another format, or has more pixels than Pillow considers safe.
    """
    with _opened(source) as file:
        is_large = min(file.size) >= LARGE
        draft = file.draft(None, (DRAFT_MARGIN * side, DRAFT_MARGIN * side)) if is_large else None
        box = draft[1] if draft else None  # the reduced size is rounded up; the image ends here
        with _silent_stderr() if file.tile and file.tile[0][0] == "libtiff" else contextlib.nullcontext():
            image, turn = _loaded(file)
        return _fitted(image, turn, side, fit, box)


def pixels(image: Image.Image, side: int, fit: Fit | None = None) -> np.ndarray:
    """The same from an image that Pillow has opened; only a JPEG of 1024 × 1024 or more differs a little, since `decode` reads it
    at a reduced size. Raises ValueError if its values have no known white, and what Pillow raises for a damaged file."""
    return _fitted(*_loaded(image), side, fit)


def opened(path: str | os.PathLike) -> Image.Image:
    """The upright image in RGBA at its own size. Raises InputError as `decode` does."""
    return opened_within(path, sys.maxsize, sys.maxsize)[0]


def opened_within(source: str | os.PathLike | BinaryIO, longest: int, most_pixels: int) -> tuple[Image.Image, bool]:
    """The upright image in RGBA, its longer side reduced to at most `longest` pixels; and whether it is an animation.

    Threads may call this at the same time (`decode` redirects standard error for a moment). Raises InputError as `decode` does,
    and, before anything is decoded, if the image has more than `most_pixels`.
    """
    with _opened(source) as file:
        if file.width * file.height > most_pixels:
            raise Image.DecompressionBombError(f"{file.width} x {file.height} pixels")
        is_animation = file.format in ANIMATED_FORMATS and getattr(file, "is_animated", False)
        file.draft(None, (longest, longest))
        image, turn = _loaded(file)
        if image.mode == "RGB" and "transparency" not in image.info:  # reduced first: RGBA takes a third more memory
            image.thumbnail((longest, longest), Image.Resampling.BILINEAR)
        image = image.convert("RGBA")
        image.thumbnail((longest, longest), Image.Resampling.BILINEAR)
        return image if turn is None else image.transpose(turn), is_animation


def is_read(kind: str) -> bool:
    """Whether "HEIC" or "AVIF" images can be read by what is installed. Each process that reads HEIC must call it once."""
    if kind == "AVIF":
        return "avif" in features.modules and features.check_module("avif")
    try:
        if tuple(map(int, re.findall(r"\d+", importlib.metadata.version("pillow-heif"))[:2])) < PILLOW_HEIF:
            return False
        from pillow_heif import register_heif_opener

        register_heif_opener(thumbnails=False)  # the image itself; the embedded thumbnail may be another one
    except ImportError:
        return False
    return True


def missing_readers() -> dict[str, str]:
    """{suffix of HEIC or AVIF images: command that installs what reads them}, of those that cannot be read."""
    return {suffix: INSTALL[kind] for suffix, kind in HEIF_SUFFIXES.items() if not is_read(kind)}


@contextlib.contextmanager
def _opened(source: str | os.PathLike | BinaryIO) -> Iterator[ImageFile.ImageFile]:
    """The image file, not yet decoded; errors of the file in the block are raised as InputError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about damage that does not matter, in EXIF for example
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if isinstance(source, (str, os.PathLike)) and not os.path.isfile(source):  # opening a pipe would wait for a writer
                raise IsADirectoryError("it is a folder") if os.path.isdir(source) else FileNotFoundError("no such file")
            with _identified(source) as image:
                yield image
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        size = str(error).partition(", could")[0]  # the rest speaks of attacks
        raise InputError(f"{_name(source)}: too large ({size}); make the image smaller, or leave it out") from error
    except MissingReader as error:
        raise InputError(f"{_name(source)}: {error}; or save it as JPEG or PNG") from error
    except Exception as error:  # a broken file can make a decoder raise nearly anything
        raise InputError(f"{_name(source)}: not a readable image ({one_line(error)}); replace it, or leave it out") from error


def _name(source: str | os.PathLike | BinaryIO) -> str:
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else str(getattr(source, "name", source))


def _identified(source: str | os.PathLike | BinaryIO) -> ImageFile.ImageFile:
    try:
        return Image.open(source, formats=FORMATS)
    except UnidentifiedImageError:
        kind = _heif_kind(source)
        if kind is None:
            raise
        if not is_read(kind):
            raise MissingReader(f"reading {kind} images needs a library that is missing or too old: {INSTALL[kind]}") from None
        return Image.open(source, formats=["HEIF" if kind == "HEIC" else kind])


def _heif_kind(source: str | os.PathLike | BinaryIO) -> str | None:
    """ "HEIC" or "AVIF", as the first box of the file says; None for another file."""
    if isinstance(source, (str, os.PathLike)):
        with open(source, "rb") as file:
            head = file.read(64)
    else:
        source.seek(0)
        head = source.read(64)
    brands = [head[at : at + 4] for at in range(8, min(int.from_bytes(head[:4], "big"), len(head)), 4)]
    if head[4:8] != b"ftyp" or not brands:
        return None
    return "AVIF" if AVIF_BRANDS.intersection(brands) else "HEIC" if brands[0] in HEIC_BRANDS else None


def _fitted(
    image: Image.Image, turn: Image.Transpose | None, side: int, fit: Fit | None, box: tuple[float, ...] | None = None
) -> np.ndarray:
    image = on_white(image)
    if fit is not None:  # of the upright image, since timm rounds an odd margin to one side
        image = image if box is None else image.crop(tuple(map(round, box)))
        return np.array(fit(image if turn is None else image.transpose(turn)))
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BILINEAR, box=box)
    return np.array(image if turn is None else image.transpose(turn))


def _loaded(image: Image.Image) -> tuple[Image.Image, Image.Transpose | None]:
    """The decoded image with 8 bits a channel, and the operation that turns it upright, if it is not.

    Raises ValueError where Pillow does not say which value is white, or which one is transparent.
    """
    tile = getattr(image, "tile", None)  # of a file that is not decoded yet
    if "transparency" in image.info and tile and tile[0][3] in WITHOUT_TRANSPARENT_COLOUR:
        raise ValueError("a transparent colour in other than 8 bits; save it with an alpha channel")
    if image.mode[0] in "IF" and not _is_16_bit(image):
        raise ValueError(f"its {image.format or 'pixel'} values of mode {image.mode} have no known white; save it with 8 bits")
    image.load()
    try:
        turn = UPRIGHT.get(image.getexif().get(ORIENTATION, 1))  # after loading, which turns a TIFF image upright
    except Exception:  # a damaged EXIF block says nothing about the pixels
        turn = None
    if not image.mode.startswith("I"):
        return image, turn
    values = np.asarray(image).astype(np.uint32)  # grey with 16 bits, which Pillow would clip at 255
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB"), turn


def _is_16_bit(image: Image.Image) -> bool:
    """Whether an image of mode I… holds grey values from 0, black, to 65535, white."""
    if image.mode == "I":  # Pillow's mode for PPM, and in older versions for PNG
        return image.format in ("PPM", "PNG")
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.mode.startswith("I;16"):
        return (image.tag_v2[BITS_PER_SAMPLE], image.tag_v2[PHOTOMETRIC]) == ((16,), BLACK_IS_ZERO)
    return image.mode.startswith("I;16")


def on_white(image: Image.Image) -> Image.Image:
    """The image in RGB; transparent pixels become white."""
    if image.mode in ("RGBA", "RGBa", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(paper, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """libtiff writes about damaged files to the process's standard error itself."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
