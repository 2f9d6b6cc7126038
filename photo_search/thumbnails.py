"""Indexed photos as small JPEG files for a browser; nothing else ever leaves through here.

What is sent is decoded and encoded anew, so a file that is no image cannot be sent, nor what a camera wrote beside the pixels.
"""

import io
import os
import stat
import threading

from PIL import Image

from datasets.images import opened_within
from utils.errors import InputError

SIDES = (256, 1280)  # pixels: beside others, and alone
MOST_PIXELS = 2 * 89_478_485  # what Pillow holds safe, twice: an indexed photo was decoded once before
KEPT = 64 * 10**6  # bytes: some thousand photos as they are shown beside others
AT_ONCE = 2  # photos decoded; of one with 89 million pixels that takes half a GB


class PhotoFiles:
    """May be asked by several threads at once; what was sent last is kept."""

    def __init__(self):
        self._kept, self._bytes, self._lock = {}, 0, threading.Lock()
        self._turns = threading.BoundedSemaphore(AT_ONCE)

    def jpeg(self, path: str, real_path: str, side: int) -> bytes:
        """At most `side` pixels along a side. real_path: where `path` led when it was indexed.

        Raises InputError if the file is gone, is no image, or `path` leads elsewhere now.
        """
        descriptor = _open_indexed(path, real_path)
        try:
            now = os.fstat(descriptor)
            key = path, now.st_mtime_ns, now.st_size, now.st_ino, side
            kept = self._kept.get(key)
            if kept is not None:
                return kept
            with self._turns:
                return self._keep(key, _encoded(descriptor, side))
        finally:
            os.close(descriptor)

    def _keep(self, key: tuple, jpeg: bytes) -> bytes:
        with self._lock:
            self._bytes += len(jpeg) - len(self._kept.pop(key, b""))
            self._kept[key] = jpeg
            while self._bytes > KEPT:
                self._bytes -= len(self._kept.pop(next(iter(self._kept))))  # the oldest
        return jpeg


def _open_indexed(path: str, real_path: str) -> int:
    """A descriptor of the regular file at `real_path`. Raises InputError if there is none, or if `path` does not lead there.

    What was opened is compared with what lies there afterwards, so no link can come between the check and the reading.
    """
    # O_NONBLOCK: a pipe would be waited for
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(real_path, flags)
    except (OSError, ValueError) as error:
        raise InputError("that photo is gone") from error
    if not _lies_at(descriptor, path, real_path):
        os.close(descriptor)
        raise InputError("that is no longer the file that was indexed; index again")
    return descriptor


def _lies_at(descriptor: int, path: str, real_path: str) -> bool:
    opened = os.fstat(descriptor)
    try:
        is_there = os.path.realpath(path) == real_path and os.path.samestat(os.lstat(real_path), opened)
    except OSError:
        return False
    return is_there and stat.S_ISREG(opened.st_mode)


def _encoded(descriptor: int, side: int) -> bytes:
    with open(descriptor, "rb", closefd=False) as file:
        picture, _ = opened_within(file, side, MOST_PIXELS)
    paper = Image.new("RGBA", picture.size, "white")
    paper.alpha_composite(picture)
    result = io.BytesIO()
    paper.convert("RGB").save(result, "JPEG", quality=85)
    return result.getvalue()
