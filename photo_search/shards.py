"""Tar shards in the WebDataset layout: their photos are read where they lie, and nothing is unpacked.

Files of one name up to the first dot of their last part form a sample, as in WebDataset; its first image is the photo.
"""

import io
import os
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from datasets.images import HEIF_SUFFIXES, IMAGE_SUFFIXES
from photo_search.store import PhotoFile, ShardState
from utils.errors import InputError

SUFFIX = ".tar"


class ShardWork(NamedTuple):
    """A shard to read, and the names of its photos that are left out: they are in the index, or were taken out of it."""

    shard: str
    skip: frozenset[str]


class OpenedShard(NamedTuple):
    """The photos of a shard, to be read from the local file `file`; or why it cannot be read."""

    shard: str
    file: str
    photos: list[PhotoFile]
    state: ShardState
    fault: str | None = None

    def close(self) -> None:
        """Delete the local file if it is a copy."""


def is_shard(source: str) -> bool:
    """Whether a source names tar shards rather than a file or folder of photos."""
    return "://" in source or (source.lower().endswith(SUFFIX) and not os.path.isdir(source))


def expanded(source: str) -> list[str]:
    """`photos-{0000..0002}.tar` → the absolute paths, or URLs, of three shards."""
    if "{" not in source or os.path.exists(source):
        return [located(source)]
    from braceexpand import braceexpand

    return [located(each) for each in braceexpand(source)]


def located(source: str) -> str:
    """A URL as it is, a path as an absolute one."""
    return source if "://" in source else os.path.abspath(source)


def state_of(shard: str) -> ShardState:
    """Raises InputError if it cannot be read."""
    try:
        status = os.stat(shard)
    except OSError as error:
        raise InputError(f"{shard}: cannot be read ({error.strerror}); name shards that exist") from error
    return ShardState(status.st_size, status.st_mtime_ns, is_done=False)


def opened_shards(work: list[ShardWork]) -> Iterator[OpenedShard]:
    """The shards one by one; what is to be skipped is left out."""
    for shard, skip in work:
        try:
            photos = [photo for photo in scanned(shard, shard) if photo.path not in skip]
            yield OpenedShard(shard, shard, photos, state_of(shard))
        except InputError as error:
            yield OpenedShard(shard, shard, [], ShardState(0, 0, is_done=False), str(error))


def scanned(shard: str, file: str) -> list[PhotoFile]:
    """The photos in the local tar file `file`. Raises InputError if it is cut short or no plain tar file."""
    changed, photos = state_of(file).changed, dict[str, PhotoFile]()
    try:
        with tarfile.open(file, "r:") as archive:
            for member in archive:
                folder, _, name = member.name.rpartition("/")
                key, _, suffix = name.partition(".")
                if member.isreg() and f".{suffix.rpartition('.')[2].lower()}" in (*IMAGE_SUFFIXES, *HEIF_SUFFIXES):
                    path = f"{shard}/{folder + '/' if folder else ''}{key}"
                    photos.setdefault(path, PhotoFile(path, member.size, changed, shard, member.offset_data))
    except (OSError, tarfile.TarError) as error:
        raise InputError(f"{shard}: cannot be read ({error}); replace it, or leave it out") from error
    return list(photos.values())


class MemberBytes(io.BytesIO):
    """The bytes of a photo in a shard; `name` stands in messages."""

    def __init__(self, content: bytes, name: str):
        super().__init__(content)
        self.name = name


def read_member(photo: PhotoFile, file: str) -> MemberBytes:
    """The bytes of a photo in the local tar file `file`."""
    with open(file, "rb") as archive:
        return member_of(photo, archive)


def member_of(photo: PhotoFile, archive: BinaryIO) -> MemberBytes:
    """The bytes of a photo in the tar file that holds it."""
    archive.seek(photo.offset)
    return MemberBytes(archive.read(photo.size), photo.path)
