"""Indexed photos as small JPEG files for the browser, which caches them. No other file is ever sent.

Photos are decoded and encoded again, so neither a file that is no image nor a camera's metadata leaves this machine.
"""

import io
import os
import stat
import threading
from typing import BinaryIO

from datasets.images import on_white, opened_within
from photo_search.shards import read_photo
from photo_search.store import PhotoFile
from photo_search.tar_photos import member_of
from utils.errors import InputError
from utils.text import is_url

SIDES = (256, 1280)  # pixels: in the grid, and in the large view
MAX_PIXELS = 2 * 89_478_485  # twice Pillow's warning limit: indexing has decoded the photo once before
FETCHES, FETCH_SECONDS = 8, 10.0  # photos fetched at the same time; how long others wait
_fetching = threading.BoundedSemaphore(FETCHES)
_decoding = threading.BoundedSemaphore(2)  # a photo of 89 million pixels takes half a GB


def thumbnail(photo: PhotoFile, real_path: str, side: int) -> bytes:
    """The photo as a JPEG of at most `side` pixels along a side; threads may call this at the same time.

    real_path: what the path of the file or shard resolved to when it was indexed. Raises InputError if it no longer does, the
    photo is missing, or is no image, or its shard has changed. Of a shard behind an HTTP URL only the photo's bytes are fetched.
    """
    if is_url(photo.shard):
        source: BinaryIO = _fetched(photo)
        with _decoding:
            return _jpeg(source, side)
    path = photo.shard or photo.path
    # O_NONBLOCK: opening a pipe must not block
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with _decoding, open(real_path, "rb", opener=lambda name, _: os.open(name, flags)) as file:
            # the opened file is compared with the one that lies there afterwards: no link can be put between check and use
            status, there = os.fstat(file.fileno()), os.lstat(real_path)
            if os.path.realpath(path) != real_path or not os.path.samestat(there, status) or not stat.S_ISREG(status.st_mode):
                raise InputError(f"{path}: is no longer the file that was indexed; index again")
            if photo.shard and status.st_mtime_ns != photo.changed:
                raise InputError(f"{path}: has changed since it was indexed; index again")
            return _jpeg(member_of(photo, file) if photo.shard else file, side)
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: is gone; index again") from error


def _fetched(photo: PhotoFile) -> BinaryIO:
    if not _fetching.acquire(timeout=FETCH_SECONDS):
        raise InputError(f"{photo.path}: other photos are being fetched; try again")
    try:
        return read_photo(photo)
    finally:
        _fetching.release()


def _jpeg(source: BinaryIO, side: int) -> bytes:
    picture, _ = opened_within(source, side, MAX_PIXELS)
    result = io.BytesIO()
    on_white(picture).save(result, "JPEG", quality=85)
    return result.getvalue()
