"""What a user has on disk, a folder or an archive: the names of its files, and a way to their bytes."""

import bz2
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
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from utils.errors import InputError
from utils.files import full_disk_named
from utils.progress import progress_bar
from utils.text import one_line, printable

IMAGES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
JOURNAL = ".placed.json"  # in a dataset's folder: which sources' images were put there, and how
LARGEST_IMAGE = 1 << 28  # bytes
LARGEST_MEMBER = 1 << 33  # bytes of any file in a tar file; some hold other archives
LARGEST_HEADER = 1 << 20  # bytes of a tar file's extended header
BOMB_SIZE, BOMB_RATIO = 1 << 30, 1000  # a tar file that unpacks to more bytes than this, and to so many times its size
BUFFER = 1 << 20  # bytes
GZIP, BZIP2, XZ = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"  # how files packed so begin
DOWNLOAD_AGAIN, FREE_SPACE = "download it again", "free some space there, then run the same command again"
CUT_SHORT = "unexpected end of data"


class Source:
    """Names of files and of folders below a folder or in an archive, with `/` between their parts; hidden ones are left out.

    `where` is what comes before a name: enough of the source's own path to recognise a layout by. `journals`: the names of the
    journals that earlier preparations left. `left_out`: what is not among the names, and how many of it.
    """

    journals: frozenset[str] = frozenset()

    def __init__(self, path: Path, names: list[str], folders: set[str]):
        self.path, self.names, self.folders = path, names, folders
        self.left_out: Counter[str] = Counter()
        self.where = "/".join(Path(os.path.abspath(path)).parts[-3:])

    def identity(self) -> list:
        """What tells whether this is the source of an earlier run."""
        status = self.path.stat()
        return [str(self.path.resolve()), *([] if self.path.is_dir() else [status.st_size, status.st_mtime_ns])]

    def read(self, names: list[str], largest: int) -> dict[str, bytes]:
        """The bytes of these files but for those larger than `largest`. Raises InputError if they are damaged."""
        raise NotImplementedError


class Folder(Source):
    """A folder, with the folders and files that links in it lead to."""

    def __init__(self, path: Path):
        names, folders, other = _walk(path)
        super().__init__(path, names, folders)
        if other:
            self.left_out[f"devices and other special files in {path} (the first: {other[0]})"] = len(other)
        journals = (f"{folder}/{JOURNAL}".removeprefix("/") for folder in ("", *folders))
        self.journals = frozenset(journal for journal in journals if (path / journal).exists())

    def file(self, name: str) -> Path:
        return self.path / name

    def read(self, names: list[str], largest: int) -> dict[str, bytes]:
        return {name: self.file(name).read_bytes() for name in names if self.file(name).stat().st_size <= largest}


@dataclass(frozen=True, slots=True)
class Member:
    """What an archive says of one of its members: its name there, its bytes unpacked, and the CRC-32 of a zip file."""

    raw: str
    size: int
    is_file: bool
    is_folder: bool
    checksum: int = 0


class Archive(Source):
    """A file of files; of several members of one name the last counts, as unpacking leaves it."""

    def __init__(self, path: Path, contents: Iterable[Member]):
        self.members: dict[str, Member] = {}
        folders, links, replaced = set(), 0, []
        for member in contents:
            name = safe(path, member.raw)
            if member.is_folder:
                folders.add(name)
            elif _is_hidden(name):
                continue
            elif not member.is_file:
                links += 1
            else:
                if name in self.members:
                    replaced.append(name)
                self.members[name] = member
        super().__init__(path, list(self.members), folders | {name.rpartition("/")[0] for name in self.members})
        self.where = "/".join([*Path(os.path.abspath(path)).parts[-3:-1], path.name.split(".")[0]])
        if links:
            self.left_out[f"links and devices in {path}"] = links
        if replaced:
            what = f"members of {path} that a later one of the same name replaces (the first: {replaced[0]})"
            self.left_out[what] = len(replaced)

    def bytes_of(self, names: list[str]) -> int:
        """What these files take unpacked. Raises InputError if one is too large to be an image."""
        for name in names:
            size = self.members[name].size
            if size > LARGEST_IMAGE:
                most = f"and no image of these datasets is larger than {LARGEST_IMAGE >> 20}"
                raise InputError(
                    f"{self.path}: its member {name!r} claims {size >> 20:,} MiB, {most}; remove it from the archive"
                )
        return sum(self.members[name].size for name in names)


class Zip(Archive):
    """A zip file: any process may read any of its files."""

    def __init__(self, path: Path):
        with _damage_named(path), zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
        if any(info.flag_bits & 1 for info in infos):
            raise _encrypted(path)
        self._require_bounded(path, infos)
        super().__init__(path, (self._member(info) for info in infos))

    @staticmethod
    def _require_bounded(path: Path, infos: list[zipfile.ZipInfo]) -> None:
        """Python unpacks all other methods' data at once, a gigabyte from a few bytes if need be."""
        for info in infos:
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                method = zipfile.compressor_names.get(info.compress_type, f"method {info.compress_type}")
                wrong = f"its member {info.filename!r} is packed by {method}, and only stored and deflated ones are read here"
                raise InputError(f"{path}: {wrong}; unpack it yourself and give the folder as --source")

    @staticmethod
    def _member(info: zipfile.ZipInfo) -> Member:
        is_file = not (info.is_dir() or stat.S_ISLNK(info.external_attr >> 16))
        return Member(info.filename, info.file_size, is_file, info.is_dir(), info.CRC)

    def read(self, names: list[str], largest: int) -> dict[str, bytes]:
        with _damage_named(self.path), zipfile.ZipFile(self.path) as archive:
            return {name: archive.read(self.members[name].raw) for name in names if self.members[name].size <= largest}


class Streamed(Archive):
    """An archive that is read from its beginning to its end, and so is unpacked by one process."""

    def read(self, names: list[str], largest: int) -> dict[str, bytes]:
        wanted = {name for name in names if self.members[name].size <= largest}
        with tempfile.TemporaryDirectory() as aside:
            if wanted:
                self.unpack(wanted, Path(aside))
            return {name: Path(aside, name).read_bytes() for name in wanted}

    def unpack(self, wanted: set[str], into: Path) -> None:
        """These files, under their names below the folder `into`. Raises InputError if they are damaged or the disk is full."""
        raise NotImplementedError


class Tar(Streamed):
    """A tar file, packed by gzip, bzip2 or xz or not at all. Links and devices in it are left out."""

    def __init__(self, path: Path):
        with _damage_named(path), self._opened(path) as archive:
            super().__init__(path, (Member(i.name, i.size, i.isreg(), i.isdir()) for i in _plausible(archive)))

    @staticmethod
    @contextmanager
    def _opened(path: Path) -> Iterator[tarfile.TarFile]:
        """With a bar: what is packed must be unpacked even to list it."""
        size = path.stat().st_size
        with path.open("rb") as file, progress_bar(size, printable(f"reading {path.name}"), "B") as bar:
            bar.unit_scale = True
            with _plain(file, bar.update) as plain:
                ending = _Ending(plain, max(BOMB_SIZE, BOMB_RATIO * size))
                with tarfile.open(fileobj=ending, mode="r|", tarinfo=_Header) as archive:
                    yield archive
                ending.read_rest()  # to the end, where the checksum is
                if not ending.is_whole():  # which tarfile does not mind
                    raise tarfile.ReadError(CUT_SHORT)

    def unpack(self, wanted: set[str], into: Path) -> None:
        for folder in {name.rpartition("/")[0] for name in wanted}:
            (into / folder).mkdir(parents=True, exist_ok=True)
        with _damage_named(self.path), full_disk_named(into, FREE_SPACE), self._opened(self.path) as archive:
            for info in _plausible(archive):
                name = safe(self.path, info.name)
                if info.isreg() and name in wanted:
                    with open(f"{into}/{name}", "wb") as file:
                        shutil.copyfileobj(archive.extractfile(info), file, BUFFER)
                    if os.path.getsize(f"{into}/{name}") != info.size:
                        raise tarfile.ReadError(CUT_SHORT)


class _Header(tarfile.TarInfo):
    """A tar header whose size is believed only within bounds: tarfile reads extended headers into memory."""

    EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> "_Header":
        info = super().frombuf(buf, encoding, errors)
        _require_plausible(info, LARGEST_HEADER if info.type in cls.EXTENDED else LARGEST_MEMBER)
        return info


def _plausible(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members; an extended header may have changed the size that the member's own header says."""
    for info in archive:
        _require_plausible(info, LARGEST_MEMBER)
        yield info


def _require_plausible(info: tarfile.TarInfo, largest: int) -> None:
    if not 0 <= info.size <= largest:
        raise tarfile.ReadError(f"{info.name!r} claims {info.size >> 20:,} MiB")


class SevenZip(Streamed):
    """A 7z file, as Sketchy's own download is one."""

    def __init__(self, path: Path):
        with _damage_named(path), _seven_zip(path) as archive:
            if archive.needs_password():
                raise _encrypted(path)
            infos = archive.list()
        self.number = _numbers(infos)
        super().__init__(path, map(self._member, infos))

    @staticmethod
    def _member(info: object) -> Member:
        is_file = not (info.is_directory or getattr(info, "is_symlink", False))
        return Member(info.filename, info.uncompressed or 0, is_file, info.is_directory)

    def unpack(self, wanted: set[str], into: Path) -> None:
        raw = {name: self.members[name].raw for name in wanted}
        with _damage_named(self.path), full_disk_named(into, FREE_SPACE), _seven_zip(self.path) as archive:
            archive.extract(into, targets=list(raw.values()))
        for name in wanted:
            number = self.number[raw[name]]
            unpacked = into / (f"{raw[name]}_{number - 1}" if number else raw[name])
            if unpacked != into / name:
                (into / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(unpacked, into / name)


def _numbers(infos: list) -> dict[str, int]:
    """{name: how many members of this name come before the last file of it}; py7zr unpacks them as a, a_0, a_1."""
    count, numbers = Counter(), {}
    for info in infos:
        if not (info.is_directory or getattr(info, "is_symlink", False)):
            numbers[info.filename] = count[info.filename]
        count[info.filename] += 1
    return numbers


@contextmanager
def _seven_zip(path: Path) -> Iterator:
    """py7zr's archive. Raises InputError if py7zr is missing, or even the names in the archive are encrypted."""
    py7zr = _py7zr()
    try:
        archive = py7zr.SevenZipFile(path)
    except py7zr.exceptions.PasswordRequired as error:
        raise _encrypted(path) from error
    with archive:
        yield archive


def _encrypted(path: Path) -> InputError:
    return InputError(f"{path}: is encrypted; unpack it with its password (7z x {path.name}) and give the folder as --source")


class _Ending:
    """A tar file being read, which remembers how it ended: whole ones end in blocks of zeros."""

    BLOCK = 512

    def __init__(self, file: BinaryIO, most: int):
        self.file, self.most, self.length, self.last = file, most, 0, b""

    def read(self, size: int) -> bytes:
        """Raises ReadError where there is no more, though tarfile would go on reading, and beyond `most` bytes."""
        content = self._read(size)
        if not content:
            raise tarfile.ReadError(CUT_SHORT)
        return content

    def read_rest(self) -> None:
        """To the end of the file, as `read` does."""
        while self._read(BUFFER):
            pass

    def _read(self, size: int) -> bytes:
        content = self.file.read(size)
        self.length += len(content)
        if self.length > self.most:
            raise tarfile.ReadError(f"it unpacks to more than {self.most >> 20:,} MiB, as no archive of images does")
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
        wrong = "is neither a folder nor an archive" if path.exists() else "no such file or folder"
        raise InputError(f"--source {path}: {wrong}; give what you downloaded, packed or unpacked")
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


def _walk(root: Path) -> tuple[list[str], set[str], list[str]]:
    """Names of files, folders and anything else below `root`; links are followed, no folder is entered within itself."""
    names, folders, other = [], set(), []
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
                elif entry.is_symlink() and not os.path.exists(entry.path) and name.lower().endswith(IMAGES):
                    raise InputError(f"{root / name}: a link that leads to no file; correct it, or remove it")
                elif entry.is_file():
                    names.append(name)
                else:
                    other.append(name)
    return sorted(names), folders, sorted(other)


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
        raise InputError(f"{path}: cannot be unpacked ({error.strerror or one_line(error)}); {DOWNLOAD_AGAIN}") from error
    except Exception as error:
        reason = one_line(error) or type(error).__name__
        raise InputError(f"{path}: damaged, or not downloaded whole ({reason}); {DOWNLOAD_AGAIN}") from error
