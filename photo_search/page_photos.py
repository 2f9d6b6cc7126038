"""Indexed photos as small JPEG files for a browser; nothing else ever leaves through here.

What is sent is decoded and encoded anew, so a file that is no image cannot be sent, nor what a camera wrote beside the pixels.
"""

import io
import os
import stat
import threading

from PIL import Image

from datasets.images import opened_within
from photo_search.store import PhotoFile
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

    def jpeg(self, photo: PhotoFile, side: int) -> bytes:
        """At most `side` pixels along a side. Raises InputError if the file is gone, no image, or another than was indexed."""
        try:
            # a pipe would be waited for
            descriptor = os.open(photo.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        except (OSError, ValueError) as error:
            raise InputError("that photo is gone") from error
        try:
            now = os.fstat(descriptor)
            if not _is_the_indexed(photo, now):
                raise InputError("that is no longer the file that was indexed; index again")
            key = photo.path, now.st_mtime_ns, now.st_size, side
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


def _is_the_indexed(photo: PhotoFile, now: os.stat_result) -> bool:
    """A changed photo still is, if no link leads to it; behind a link it must be the very file."""
    if not stat.S_ISREG(now.st_mode):
        return False
    if (now.st_size, now.st_mtime_ns) == (photo.size, photo.changed):
        return True
    try:
        return os.path.realpath(photo.path) == photo.path and os.path.samestat(os.lstat(photo.path), now)
    except OSError:
        return False


def _encoded(descriptor: int, side: int) -> bytes:
    with open(descriptor, "rb", closefd=False) as file:
        picture, _ = opened_within(file, side, MOST_PIXELS)
    paper = Image.new("RGBA", picture.size, "white")
    paper.alpha_composite(picture)
    result = io.BytesIO()
    paper.convert("RGB").save(result, "JPEG", quality=85)
    return result.getvalue()
