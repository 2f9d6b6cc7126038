"""Zip, tar and 7z archives as sources. They may be hostile: nothing is unpacked to a path or size that was not checked."""

import bz2
import gzip
import lzma
import os
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tqdm.utils import CallbackIOWrapper

from preparation.sources import Folder, Source, Take, is_hidden
from utils.errors import InputError
from utils.files import report_full_disk
from utils.progress import progress_bar
from utils.tar import BoundedHeader
from utils.text import one_line, printable

BOMB_SIZE, BOMB_RATIO = 1 << 30, 1000  # a tar file is a bomb if it unpacks to more bytes than this and to so many times its size
BUFFER = 1 << 20  # bytes
# tarfile itself can decompress, but compares no checksums of a stream
COMPRESSED: dict[bytes, Callable[[Any], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
DOWNLOAD_AGAIN, FREE_SPACE = "download it again", "free some space there, then run the same command again"
UNPACK_IT = "unpack it yourself and give the folder as --source"
CUT_SHORT = "unexpected end of data"


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an archive: its name there, its size unpacked in bytes, and its CRC-32 if it is in a zip file."""

    raw: str
    size: int
    is_folder: bool
    is_special: bool  # a link or a device
    checksum: int | None = None


class Archive(Source):
    """An archive's regular files; of several members with one name the last counts, as it does when they are unpacked.

    A subclass lists the members and unpacks those with the given raw names below a folder.
    """

    def __init__(self, path: Path):
        self.members: dict[str, Member] = {}
        folders, links, replaced = set(), 0, []
        with _damage_named(path):
            members = self._list(path)
        for member in members:
            name = _checked_name(path, member.raw)
            if member.is_folder:
                folders.add(name)
            elif any(map(is_hidden, name.split("/"))):
                continue
            elif member.is_special:
                links += 1
            else:
                replaced += [name] if name in self.members else []
                self.members[name] = member
        super().__init__(path, list(self.members), folders | {name.rpartition("/")[0] for name in self.members})
        self.where = "/".join([*Path(os.path.abspath(path)).parts[-3:-1], path.name.split(".")[0]])
        if links:
            self.left_out[f"links and devices in {path}"] = links
        if replaced:
            what = f"members of {path} that a later one of the same name replaces (the first: {replaced[0]})"
            self.left_out[what] = len(replaced)

    def _list(self, path: Path) -> list[Member]:
        raise NotImplementedError

    def _unpack(self, into: Path, wanted: Collection[str]) -> None:
        raise NotImplementedError

    def size(self, name: str) -> int:
        return self.members[name].size

    @contextmanager
    def open(self, names: Sequence[str], aside: Path, copies: bool = True) -> Iterator[Take]:
        into = Path(tempfile.mkdtemp(dir=aside, prefix=f"{self.path.name}."))

        def take(name: str, target: Path) -> None:
            os.replace(into / self.members[name].raw, target)
            os.utime(target)  # py7zr restores the time of change; the journal needs the time of copying

        if names:
            with _damage_named(self.path), report_full_disk(into, FREE_SPACE):
                self._unpack(into, {self.members[name].raw for name in names})
        yield take

    def equals(self, name: str, path: Path) -> bool:
        member = self.members[name]
        return path.stat().st_size == member.size and member.checksum == zlib.crc32(path.read_bytes())


class Zip(Archive):
    """Members are unpacked one by one, straight to their places."""

    def _list(self, path: Path) -> list[Member]:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
        members = []
        for info in infos:
            if info.flag_bits & 1:
                raise _encrypted(path)
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # Python unpacks others without a limit
                wrong = f"its member {info.filename!r} is packed by method {info.compress_type}"
                raise InputError(f"{path}: {wrong}, and only stored and deflated ones are read here; {UNPACK_IT}")
            is_link = stat.S_ISLNK(info.external_attr >> 16)
            members.append(Member(info.filename, info.file_size, info.is_dir(), is_link, info.CRC))
        return members

    @contextmanager
    def open(self, names: Sequence[str], aside: Path, copies: bool = True) -> Iterator[Take]:
        with self.path.open("rb") as file, zipfile.ZipFile(file) as archive:

            def take(name: str, target: Path) -> None:
                raw = self.members[name].raw
                try:
                    with archive.open(raw) as content:
                        _write(content, target)
                except OSError:
                    raise
                except Exception as error:  # unpacking what is damaged can fail in nearly any way
                    damage = f"its member {raw!r} is damaged ({one_line(error)})"
                    raise InputError(f"{self.path}: {damage}; {DOWNLOAD_AGAIN}") from error

            yield take


class Tar(Archive):
    """Read from the beginning to the end."""

    def _list(self, path: Path) -> list[Member]:
        with _open_tar(path) as archive:
            return [Member(info.name, info.size, info.isdir(), not _has_content(info)) for info in archive]

    def _unpack(self, into: Path, wanted: Collection[str]) -> None:
        with _open_tar(self.path) as archive:
            for info in archive:
                content = archive.extractfile(info) if info.name in wanted and _has_content(info) else None
                if content is not None and _write(content, into / info.name) != info.size:
                    raise tarfile.ReadError(CUT_SHORT)


def _has_content(info: tarfile.TarInfo) -> bool:
    """Whether a member is a file whose bytes are all in the archive; a few bytes of a sparse one could fill the disk."""
    return info.isreg() and not info.issparse()


class SevenZip(Archive):
    """Needs py7zr."""

    def _list(self, path: Path) -> list[Member]:
        with _open_7z(path) as archive:
            if archive.needs_password():
                raise _encrypted(path)
            infos = archive.list()
        members = [
            Member(info.filename, info.uncompressed or 0, info.is_directory, getattr(info, "is_symlink", False)) for info in infos
        ]
        names = [member.raw for member in members if not member.is_folder]
        if len(set(names)) < len(names):  # py7zr would unpack them under other names
            raise InputError(f"{path}: several of its members have one name; {UNPACK_IT}")
        return members

    def _unpack(self, into: Path, wanted: Collection[str]) -> None:
        with _open_7z(self.path) as archive:
            archive.extract(into, targets=list(wanted))


def _write(content: IO[bytes], path: Path) -> int:
    """Write a file piece by piece; returns its size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        shutil.copyfileobj(content, file, BUFFER)
        return file.tell()


@contextmanager
def _open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """A tar file to be read once, with a bar; the end is read too, because the checksum of the compression is there."""
    size = path.stat().st_size
    with path.open("rb") as file, progress_bar(size, printable(f"reading {path.name}"), "B") as bar:
        bar.unit_scale = True
        start = file.read(6)
        file.seek(0)
        decompress = next((opener for magic, opener in COMPRESSED.items() if start.startswith(magic)), lambda same: same)
        content = _TarContent(decompress(CallbackIOWrapper(bar.update, file)), max(BOMB_SIZE, BOMB_RATIO * size))
        with tarfile.open(fileobj=content, mode="r|", tarinfo=BoundedHeader) as archive:  # type: ignore[call-overload]
            yield archive
        content.read_rest()


class _TarContent:
    """The bytes of a tar file. Reading fails after its end, beyond `most` bytes, or if it does not end in a block of zeros."""

    BLOCK = 512

    def __init__(self, file: Any, most: int):
        self.file, self.most, self.length, self.last = file, most, 0, b""

    def read(self, size: int, may_end: bool = False) -> bytes:
        content = self.file.read(size)
        self.length += len(content)
        if self.length > self.most:
            raise tarfile.ReadError(f"it unpacks to more than {self.most >> 20:,} MiB, as no archive of images does")
        if not content and not may_end:  # tarfile would go on
            raise tarfile.ReadError(CUT_SHORT)
        self.last = (self.last + content)[-self.BLOCK :]
        return content

    def read_rest(self) -> None:
        while self.read(BUFFER, may_end=True):
            pass
        if self.length % self.BLOCK or self.last != bytes(self.BLOCK):
            raise tarfile.ReadError(CUT_SHORT)


def _open_7z(path: Path) -> Any:
    try:
        import py7zr
    except ImportError as error:
        raise InputError("a .7z archive needs py7zr: pip install py7zr, or unpack it yourself and give the folder") from error
    return py7zr.SevenZipFile(path)


def open_source(path: Path) -> Source:
    """The folder or archive at `path`. Raises InputError if there is none, or it is not whole or cannot be read here."""
    if path.is_dir():
        return Folder(path)
    if not path.is_file():
        wrong = "is neither a folder nor an archive" if path.exists() else "no such file or folder"
        raise InputError(f"--source {path}: {wrong}; give what you downloaded, packed or unpacked")
    with path.open("rb") as file:
        start = file.read(600)
    for form, signatures in ((Zip, b"PK"), (SevenZip, b"7z\xbc\xaf\x27\x1c"), (Tar, tuple(COMPRESSED))):
        if start.startswith(signatures) or (form is Tar and start[257:262] == b"ustar"):
            return form(path)
    if b"<html" in start.lower() or b"<!doctype" in start.lower():
        raise InputError(f"{path}: is a web page, not an archive; open its address in a browser to download the file itself")
    raise InputError(f"{path}: is neither a folder nor a zip, tar or 7z archive; unpack it, or {DOWNLOAD_AGAIN}")


def _checked_name(archive: Path, name: str) -> str:
    """A member's name with `/` between its parts. Raises InputError if it leads out of the archive."""
    name = name.replace("\\", "/")
    parts = name.split("/")
    if name.startswith("/") or re.match("[A-Za-z]:", name) or ".." in parts:
        raise InputError(f"{archive}: its member {name!r} climbs out of the folder; do not trust this archive")
    return "/".join(part for part in parts if part not in ("", "."))


def _encrypted(path: Path) -> InputError:
    return InputError(f"{path}: is encrypted; unpack it with its password (7z x {path.name}) and give the folder as --source")


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Raise InputError for what a damaged archive raises, which may be nearly any exception."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except OSError as error:
        if error.filename:
            raise
        raise InputError(f"{path}: cannot be unpacked ({error.strerror or one_line(error)}); {DOWNLOAD_AGAIN}") from error
    except Exception as error:
        if type(error).__name__ == "PasswordRequired":  # py7zr's, where even the names are encrypted
            raise _encrypted(path) from error
        reason = one_line(error) or type(error).__name__
        raise InputError(f"{path}: damaged, or not downloaded whole ({reason}); {DOWNLOAD_AGAIN}") from error
