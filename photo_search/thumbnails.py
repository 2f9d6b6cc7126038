"""Indexed photos as small JPEG files for the browser. No other file is ever sent.

Photos are decoded and encoded again, so neither a file that is no image nor a camera's metadata leaves this machine.
"""

import io
import os
import stat
import threading

from PIL import Image

from datasets.images import opened_within
from utils.errors import InputError

SIDES = (256, 1280)  # pixels: in the grid, and in the large view
MAX_PIXELS = 2 * 89_478_485  # twice Pillow's warning limit: indexing has decoded the photo once before
CACHE_BYTES = 64 * 10**6  # some thousand photos as the grid shows them
MAX_DECODED = 2  # photos decoded at once; one of 89 million pixels takes half a GB


class PhotoFiles:
    """Encodes indexed photos and caches the most recent ones; thread-safe."""

    def __init__(self) -> None:
        self._cache: dict[tuple, bytes] = {}
        self._bytes, self._lock = 0, threading.Lock()
        self._decoding = threading.BoundedSemaphore(MAX_DECODED)

    def jpeg(self, path: str, real_path: str, side: int) -> bytes:
        """The photo at `path` as a JPEG of at most `side` pixels along a side.

        Raises InputError if it is missing, is no image, or `path` no longer resolves to `real_path`, as it did when indexed.
        """
        descriptor = _open_indexed(path, real_path)
        try:
            status = os.fstat(descriptor)
            key = path, status.st_mtime_ns, status.st_size, status.st_ino, side
            if key in self._cache:
                return self._cache[key]
            with self._decoding:
                return self._remember(key, _encode(descriptor, side))
        finally:
            os.close(descriptor)

    def _remember(self, key: tuple, jpeg: bytes) -> bytes:
        with self._lock:
            self._bytes += len(jpeg) - len(self._cache.pop(key, b""))
            self._cache[key] = jpeg
            while self._bytes > CACHE_BYTES:
                self._bytes -= len(self._cache.pop(next(iter(self._cache))))  # the oldest
        return jpeg


def _open_indexed(path: str, real_path: str) -> int:
    """A descriptor of the regular file at `real_path`. Raises InputError if it is missing or `path` does not lead there.

    The opened file is compared with the file that lies there afterwards, so no link can be put between check and use.
    """
    # O_NONBLOCK: opening a pipe must not block
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(real_path, flags)
    except (OSError, ValueError) as error:
        raise InputError("that photo is gone") from error
    if not _is_at(descriptor, path, real_path):
        os.close(descriptor)
        raise InputError("that is no longer the file that was indexed; index again")
    return descriptor


def _is_at(descriptor: int, path: str, real_path: str) -> bool:
    status = os.fstat(descriptor)
    try:
        is_there = os.path.realpath(path) == real_path and os.path.samestat(os.lstat(real_path), status)
    except OSError:
        return False
    return is_there and stat.S_ISREG(status.st_mode)


def _encode(descriptor: int, side: int) -> bytes:
    with open(descriptor, "rb", closefd=False) as file:
        picture, _ = opened_within(file, side, MAX_PIXELS)
    paper = Image.new("RGBA", picture.size, "white")
    paper.alpha_composite(picture)
    result = io.BytesIO()
    paper.convert("RGB").save(result, "JPEG", quality=85)
    return result.getvalue()
