"""The photos in a tar file in the WebDataset layout: where their bytes lie, and reading them. The file may be hostile.

Files of one name up to the first dot of their last part are a sample, as in WebDataset; its first image is the photo. Hidden
files, links, devices and WebDataset's own `__…__` members are left out.
"""

import errno
import io
import os
import re
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from datasets.images import HEIF_SUFFIXES, IMAGE_SUFFIXES, missing_readers
from photo_search.store import PhotoFile
from utils.errors import InputError
from utils.tar import BoundedHeader
from utils.text import one_line

PHOTO_SUFFIXES = (*IMAGE_SUFFIXES, *HEIF_SUFFIXES)
LARGEST_PHOTO = 1 << 28  # bytes; a photo is read into memory
LONGEST_NAME = 1024  # characters
BACKSLASH = r"|\\" if os.sep == "\\" else ""
HOSTILE_NAME = re.compile(rf"\A/|(\A|/)\.\.(/|\Z)|//|[\x00-\x1f\x7f]{BACKSLASH}")
META_NAME = re.compile(r"__[^/]*__($|/)")
COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ\0": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}
END = bytes(tarfile.BLOCKSIZE)


class _Header(BoundedHeader):
    LARGEST = 1 << 14  # Python before 3.11.10 and 3.12.6 takes a time that grows with the square of it


class Scan(NamedTuple):
    """size, changed: of the tar file. unsupported: {path of a HEIC or AVIF photo: command that installs what reads it}."""

    photos: list[PhotoFile]
    size: int
    changed: int
    unsupported: dict[str, str]


def scan(shard: str, file: str) -> Scan:
    """The photos of `shard` in the local tar file `file`, of which only headers are read.

    Raises InputError if it is cut short, damaged, compressed or no tar file, or if a photo has a name that leads elsewhere or
    that another one has, or is sparse.
    """
    photos: dict[str, PhotoFile] = {}
    missing = missing_readers()
    unsupported = dict[str, str]()
    try:
        with open(file, "rb") as content:
            status = os.fstat(content.fileno())
            _require_uncompressed(content)
            names = set[tuple[str, str]]()
            for member in _members(content):
                if not member.name.lower().endswith(PHOTO_SUFFIXES) or not member.isreg():
                    continue
                key, suffix = _key_of(member)
                if not key:
                    continue
                if (key, suffix) in names:
                    raise tarfile.ReadError(f"its member {member.name!r} is there twice")
                names.add((key, suffix))
                path = f"{shard}/{key}"
                if path not in photos:
                    photos[path] = PhotoFile(path, member.size, status.st_mtime_ns, shard, member.offset_data)
                    if (ending := suffix[suffix.rindex(".") :]) in missing:
                        unsupported[path] = missing[ending]
    except InputError as error:
        raise InputError(f"{shard}: {error}") from error
    except OSError as error:
        raise InputError(f"{shard}: cannot be read ({error.strerror or one_line(error)}); check it, or leave it out") from error
    except Exception as error:  # a damaged header can make tarfile raise nearly anything
        reason = one_line(error)[:200] or type(error).__name__
        raise InputError(f"{shard}: not a whole tar file ({reason}); replace it, or leave it out") from error
    return Scan(list(photos.values()), status.st_size, status.st_mtime_ns, unsupported)


def _require_uncompressed(content: BinaryIO) -> None:
    start = content.read(6)
    for magic, program in COMPRESSED.items():
        if start.startswith(magic):
            raise InputError(f"is compressed; unpack it ({program}) and name the .tar file: photos are read where they lie")
    content.seek(0)


def _members(content: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """The headers. Raises ReadError if the file does not end as a tar file does."""
    position = -1
    with tarfile.open(fileobj=content, mode="r:", tarinfo=_Header) as archive:
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # tarfile would keep all of them in memory
            if archive.offset <= position:  # sizes in extended headers can lead back
                raise tarfile.ReadError(f"its member {member.name[:100]!r} has a wrong size")
            position = archive.offset
            yield member
        content.seek(archive.offset)
        last = content.read(len(END))
    if last != END:
        raise tarfile.ReadError("damaged header" if len(last) == len(END) else "cut short")


def _key_of(member: tarfile.TarInfo) -> tuple[str, str]:
    """A photo's name without and with its suffix in lower case; ("", "") if it is left out. Raises ReadError: see `scan`."""
    name = member.name
    if HOSTILE_NAME.search(name) or len(name) > LONGEST_NAME:
        raise tarfile.ReadError(f"its member {name[:100]!r} has a name that no photo has")
    parts = [part for part in name.split("/") if part != "."]
    key, _, suffix = parts[-1].partition(".")
    if not key or META_NAME.match("/".join(parts)):
        return "", ""
    if member.issparse():
        raise tarfile.ReadError(f"its member {name[:100]!r} is sparse")
    return "/".join([*parts[:-1], key]), f".{suffix.lower()}"


class MemberBytes(io.BytesIO):
    """The bytes of a photo in a shard; `name` stands in messages."""

    def __init__(self, content: bytes, name: str):
        super().__init__(content)
        self.name = name

    def __repr__(self) -> str:
        return repr(self.name)  # as Pillow's messages show a file


def read_member(photo: PhotoFile, file: str) -> MemberBytes:
    """The bytes of a photo in the local tar file `file`.

    Raises InputError as `member_of` does, and OSError if the file cannot be read or has changed since it was scanned.
    """
    with open(file, "rb") as archive:
        if os.fstat(archive.fileno()).st_mtime_ns != photo.changed:
            raise OSError(errno.ESTALE, "has changed since it was scanned", file)
        return member_of(photo, archive)


def member_of(photo: PhotoFile, archive: BinaryIO) -> MemberBytes:
    """The bytes of a photo in the tar file that holds it. Raises InputError if they are too many, or are not there."""
    require_bounded(photo)
    archive.seek(photo.offset)
    content = archive.read(photo.size)
    if len(content) < photo.size:
        raise InputError(f"{photo.path}: lies beyond the end of the file; index again")
    return MemberBytes(content, photo.path)


def require_bounded(photo: PhotoFile) -> None:
    """Raise InputError if a photo in a shard is too large to read, or has no possible place there."""
    if photo.offset < 0 or not 0 <= photo.size <= LARGEST_PHOTO:
        raise InputError(f"{photo.path}: too large ({photo.size >> 20:,} MiB); make the image smaller, or leave it out")
