"""What a user has on disk, a folder or an archive: the names of its files, and a way to their bytes."""

import bz2
import errno
import gzip
import io
import lzma
import os
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from utils.errors import InputError
from utils.progress import progress_bar

IMAGES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
JOURNAL = ".placed.json"  # in a dataset's folder: which sources' images were put there, and how
LARGEST_FILE = 1 << 30  # bytes; nothing in a dataset of images is larger
GZIP, BZIP2, XZ = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"  # how files packed so begin
DOWNLOAD_AGAIN = "download it again"


class Source:
    """Names of files and of folders below a folder or in an archive, with `/` between their parts; hidden ones are left out.

    `where` is what comes before a name: enough of the source's own path to recognise a layout by. `journals`: the names of the
    journals that earlier preparations left.
    """

    journals: frozenset[str] = frozenset()

    def __init__(self, path: Path, names: list[str], folders: set[str]):
        self.path, self.names, self.folders = path, names, folders
        self.where = "/".join(Path(os.path.abspath(path)).parts[-3:])

    def identity(self) -> list:
        """What tells whether this is the source of an earlier run."""
        status = self.path.stat()
        return [str(self.path.resolve()), *([] if self.path.is_dir() else [status.st_size, status.st_mtime_ns])]

    def read(self, names: list[str], largest: int) -> dict[str, bytes]:
        """The bytes of these files but for those larger than `largest`. Raises InputError if they are damaged."""
        raise NotImplementedError


class Folder(Source):
    """A folder, with what links in it lead to."""

    def __init__(self, path: Path):
        names, folders = _walk(path)
        super().__init__(path, names, folders)
        journals = (f"{folder}/{JOURNAL}".removeprefix("/") for folder in ("", *folders))
        self.journals = frozenset(journal for journal in journals if (path / journal).exists())

    def file(self, name: str) -> Path:
        return self.path / name

    def read(self, names: list[str], largest: int) -> dict[str, bytes]:
        return {name: self.file(name).read_bytes() for name in names if self.file(name).stat().st_size <= largest}


class Archive(Source):
    """A file of files. `members` are their names as the archive has them, by the names used here."""

    def __init__(self, path: Path, members: dict[str, str], sizes: dict[str, int], folders: set[str]):
        super().__init__(path, [name for name in members if not _is_hidden(name)], folders | _parents(members))
        self.members, self.sizes = members, sizes
        self.where = "/".join([*Path(os.path.abspath(path)).parts[-3:-1], path.name.split(".")[0]])

    def bytes_of(self, names: list[str]) -> int:
        """What these files take unpacked. Raises InputError if one is too large to be an image."""
        for name in names:
            if self.sizes[name] > LARGEST_FILE:
                raise InputError(
                    f"{self.path}: its member {name!r} claims {self.sizes[name] >> 20} MiB; no dataset has such files"
                )
        return sum(self.sizes[name] for name in names)


class Zip(Archive):
    """A zip file: any process may read any of its files."""

    def __init__(self, path: Path):
        with _damage_named(path), zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
        locked = next((info.filename for info in infos if info.flag_bits & 1), None)
        if locked:
            raise InputError(f"{path}: is locked by a password; unpack it yourself and give the folder as --source")
        members = {safe(path, info.filename): info for info in infos}
        files = {name: info for name, info in members.items() if not (info.is_dir() or stat.S_ISLNK(info.external_attr >> 16))}
        folders = {name for name, info in members.items() if info.is_dir()}
        super().__init__(path, {n: i.filename for n, i in files.items()}, {n: i.file_size for n, i in files.items()}, folders)
        self.checksums = {name: info.CRC for name, info in files.items()}

    def read(self, names: list[str], largest: int) -> dict[str, bytes]:
        with _damage_named(self.path), zipfile.ZipFile(self.path) as archive:
            return {name: archive.read(self.members[name]) for name in names if self.sizes[name] <= largest}


class Streamed(Archive):
    """An archive that is read from its beginning to its end, and so is unpacked by one process."""

    def read(self, names: list[str], largest: int) -> dict[str, bytes]:
        wanted = {name for name in names if self.sizes[name] <= largest}
        with tempfile.TemporaryDirectory() as aside:
            if wanted:
                self.unpack(wanted, Path(aside))
            return {name: Path(aside, name).read_bytes() for name in wanted}

    def unpack(self, wanted: set[str], into: Path) -> None:
        """These files, under their names below the folder `into`. Raises InputError if they are damaged or there is no room."""
        raise NotImplementedError


class Tar(Streamed):
    """A tar file, packed by gzip, bzip2 or xz or not at all. Links and devices in it are left out."""

    def __init__(self, path: Path):
        members, sizes, folders = {}, {}, set()
        with _damage_named(path), self._opened(path) as archive:
            for info in archive:
                name = safe(path, info.name)
                if info.isdir():
                    folders.add(name)
                if info.isreg():
                    members[name], sizes[name] = info.name, info.size
        super().__init__(path, members, sizes, folders)

    @staticmethod
    @contextmanager
    def _opened(path: Path) -> Iterator[tarfile.TarFile]:
        """With a bar: what is packed must be unpacked even to list it."""
        with path.open("rb") as file, progress_bar(path.stat().st_size, f"reading {path.name}", "B") as bar:
            bar.unit_scale = True
            with _plain(file, bar.update) as plain:
                ending = _Ending(plain)
                with tarfile.open(fileobj=ending, mode="r|") as archive:
                    yield archive
                while ending.read(1 << 20):
                    pass  # to the end, where the checksum is
                if not ending.is_whole():  # which tarfile does not mind
                    raise tarfile.ReadError("unexpected end of data")

    def unpack(self, wanted: set[str], into: Path) -> None:
        for folder in {name.rpartition("/")[0] for name in wanted}:
            (into / folder).mkdir(parents=True, exist_ok=True)
        with _damage_named(self.path), self._opened(self.path) as archive:
            for info in archive:
                name = safe(self.path, info.name)
                if info.isreg() and name in wanted:
                    content = archive.extractfile(info).read()
                    if len(content) != info.size:
                        raise tarfile.ReadError("unexpected end of data")
                    with open(f"{into}/{name}", "wb") as file:
                        file.write(content)


class SevenZip(Streamed):
    """A 7z file, as Sketchy's own download is one."""

    def __init__(self, path: Path):
        with _damage_named(path), _py7zr().SevenZipFile(path) as archive:
            if archive.needs_password():
                raise InputError(f"{path}: is locked by a password; unpack it yourself and give the folder as --source")
            infos = archive.list()
        members = {safe(path, info.filename): info for info in infos}
        files = {name: info for name, info in members.items() if not (info.is_directory or getattr(info, "is_symlink", False))}
        folders = {name for name, info in members.items() if info.is_directory}
        sizes = {name: info.uncompressed or 0 for name, info in files.items()}
        super().__init__(path, {name: info.filename for name, info in files.items()}, sizes, folders)

    def unpack(self, wanted: set[str], into: Path) -> None:
        with _damage_named(self.path), _py7zr().SevenZipFile(self.path) as archive:
            archive.extract(into, targets=[self.members[name] for name in wanted])
        for name in wanted:
            if self.members[name] != name:
                (into / name).parent.mkdir(parents=True, exist_ok=True)
                (into / self.members[name]).rename(into / name)


class _Ending:
    """A tar file being read, which remembers how it ended: whole ones end in blocks of zeros."""

    BLOCK = 512

    def __init__(self, file: BinaryIO):
        self.file, self.length, self.last = file, 0, b""

    def read(self, size: int) -> bytes:
        content = self.file.read(size)
        self.length += len(content)
        self.last = (self.last + content)[-self.BLOCK :]
        return content

    def is_whole(self) -> bool:
        return self.length % self.BLOCK == 0 and self.last == bytes(self.BLOCK)


class _Watched(io.RawIOBase):
    """A file whose reading, from its beginning to its end, moves a bar."""

    def __init__(self, file: BinaryIO, tell: Callable[[int], object]):
        self.file, self.tell = file, tell

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        content = self.file.read(size)
        self.tell(len(content))
        return content


def _plain(file: BinaryIO, tell: Callable[[int], object]) -> BinaryIO:
    """The tar file in a packed one. tarfile's own way to unpack a stream compares no checksums."""
    start, watched = file.read(6), _Watched(file, tell)
    file.seek(0)
    if start[:2] == GZIP:
        return gzip.GzipFile(fileobj=watched)
    if start[:3] == BZIP2:
        return bz2.BZ2File(watched)
    return lzma.LZMAFile(watched) if start[:6] == XZ else watched


def open_source(path: Path) -> Source:
    """Raises InputError if there is nothing at `path`, or it is neither a folder nor a whole archive that can be read here."""
    if path.is_dir():
        return Folder(path)
    if not path.is_file():
        raise InputError(f"--source {path}: no such file or folder; give what you downloaded, packed or unpacked")
    with path.open("rb") as file:
        start = file.read(600)
    if start.startswith(b"PK"):
        if not zipfile.is_zipfile(path):
            raise InputError(f"{path}: is a zip file cut short; {DOWNLOAD_AGAIN}")
        return Zip(path)
    if start.startswith(b"7z\xbc\xaf\x27\x1c"):
        return SevenZip(path)
    if start[:2] == GZIP or start[:3] == BZIP2 or start[:6] == XZ or start[257:262] == b"ustar":
        return Tar(path)
    if b"<html" in start.lower() or b"<!doctype" in start.lower():
        raise InputError(f"{path}: is a web page, not an archive; open its address in a browser to download the file itself")
    if not start:
        raise InputError(f"{path}: is empty; {DOWNLOAD_AGAIN}")
    raise InputError(f"{path}: is neither a folder nor a zip, tar or 7z archive; unpack it, or {DOWNLOAD_AGAIN}")


def safe(archive: Path, name: str) -> str:
    """The name of a member, with `/` between its parts. Raises InputError if it leads out of the archive."""
    name = name.replace("\\", "/")
    parts = name.split("/")
    if name.startswith("/") or re.match("[A-Za-z]:", name) or ".." in parts:
        raise InputError(
            f"{archive}: its member {name!r} climbs out of the folder it is unpacked into; do not trust this archive"
        )
    return "/".join(part for part in parts if part not in ("", "."))


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX")) or "/." in name or "/__MACOSX" in name


def _parents(names: dict[str, str]) -> set[str]:
    return {name.rpartition("/")[0] for name in names if not _is_hidden(name)}


def _walk(root: Path) -> tuple[list[str], set[str]]:
    """Names of files and folders below `root`; a link that leads to a folder it lies in is not followed."""
    names, folders = [], set()
    waiting = [("", ())]
    while waiting:
        folder, above = waiting.pop()
        status = os.stat(root / folder)
        here = (status.st_dev, status.st_ino)
        if here in above:
            continue
        with os.scandir(root / folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name == "__MACOSX":
                    continue
                name = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir():
                    folders.add(name)
                    waiting.append((name, (*above, here)))
                elif entry.is_file():
                    names.append(name)
                elif entry.is_symlink() and name.lower().endswith(IMAGES):
                    raise InputError(f"{root / name}: a link that leads to no file; mend it, or remove it")
    return sorted(names), folders


def _py7zr():
    try:
        import py7zr
    except ImportError as error:
        raise InputError("a .7z archive wants py7zr: pip install py7zr, or unpack it yourself and give the folder") from error
    return py7zr


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """What a damaged archive raises, as one clear line; unpacking can fail in nearly any way."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except OSError as error:
        if error.filename:
            raise
        advice = "free some space" if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT) else DOWNLOAD_AGAIN
        raise InputError(f"{path}: cannot be unpacked ({error.strerror or error}); {advice}") from error
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise InputError(f"{path}: damaged, or not downloaded whole ({reason}); {DOWNLOAD_AGAIN}") from error


def require_space(archives: list[tuple[Archive, list[str]]], at: Path) -> None:
    """Raise InputError if these files of these archives do not fit on the disk of the folder `at`."""
    needed = sum(archive.bytes_of(names) for archive, names in archives)
    free = shutil.disk_usage(at).free
    if needed > free:
        raise InputError(
            f"{at}: {needed / 1e6:,.0f} MB are to be unpacked, {free / 1e6:,.0f} MB are free; choose another --output"
        )
