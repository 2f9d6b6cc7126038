"""Tar shards as sources: their names, and opening them one after the other. Their photos are read where they lie."""

import itertools
import os
import re
import shutil
import stat
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from photo_search.collecting import is_below
from photo_search.fetching import Unreachable, fetch, fetch_part, host_of, require_known_scheme
from photo_search.store import PhotoFile, ShardState
from photo_search.tar_photos import MemberBytes, read_member, require_bounded, scan
from utils.errors import InputError, is_disk_full
from utils.text import is_url

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")  # compressed ones are refused when they are read
MOST_SHARDS = 1_000_000  # of one pattern
RANGE = re.compile(r"\{(-?\d+)\.\.(-?\d+)")
FETCHED = "fetched-"  # begins the names of folders within an index
POLL_SECONDS = 0.2


class ShardWork(NamedTuple):
    """A shard to read. known: its photos that are in the index; left_out: paths of those that were taken out of it."""

    shard: str
    known: frozenset[PhotoFile]
    left_out: frozenset[str]


class OpenedShard(NamedTuple):
    """The photos of a shard to embed, to be read from the local file `file`; or why it cannot be read.

    stale: its photos that are in the index, but no longer in the shard.

    unsupported: {command that installs what reads them: number of HEIC or AVIF photos}.
    """

    shard: str
    file: str
    photos: list[PhotoFile]
    stale: list[PhotoFile]
    state: ShardState
    unsupported: Counter[str]
    fault: str | None = None

    def close(self) -> None:
        """Delete the local file if it is a copy."""
        if self.file != self.shard:
            with suppress(OSError):
                os.unlink(self.file)


def is_shard(source: str) -> bool:
    """Whether a source names tar shards rather than a file or folder of photos."""
    return is_url(source) or (source.lower().endswith(SUFFIXES) and not os.path.isdir(source))


def expanded(source: str) -> list[str]:
    """`photos-{0000..0002}.tar` → the absolute paths, or URLs, of three shards. Raises InputError if it is no such pattern.

    Braces in the name of a file or folder that exists are part of the name.
    """
    place = located(source)
    if "{" not in place or (not is_url(place) and os.path.exists(place)):
        return [place]
    folder = "" if is_url(place) else next(str(parent) for parent in Path(place).parents if parent.is_dir())
    names = [os.path.join(folder, each) for each in _expanded(os.path.relpath(place, folder) if folder else place, source)]
    if len(names) > MOST_SHARDS:
        raise InputError(f"{source}: more than {MOST_SHARDS:,} shards; name fewer at once")
    return names


def _expanded(pattern: str, source: str) -> Iterator[str]:
    if "{" not in pattern:
        return iter([pattern])
    try:
        from braceexpand import braceexpand
    except ImportError as error:
        raise InputError(f"{source}: braces need braceexpand: pip install -r requirements-scale.txt") from error
    ranges = [abs(int(last) - int(first)) for first, last in RANGE.findall(pattern) if len(first + last) < 40]
    if re.search(r"\{[^}]*\{", pattern) or len(RANGE.findall(pattern)) > len(ranges) or max(ranges, default=0) > MOST_SHARDS:
        raise InputError(f"{source}: braces within braces, or a range of more than {MOST_SHARDS:,}; name fewer shards at once")
    try:
        return itertools.islice(braceexpand(pattern, escape=False), MOST_SHARDS + 1)
    except ValueError as error:
        raise InputError(f"{source}: a brace is not closed; write a range as {{0000..9999}}") from error


def located(source: str) -> str:
    """A URL as it is, a path as an absolute one."""
    return source if is_url(source) else os.path.abspath(source)


def state_of(shard: str) -> ShardState:
    """Size and modification time, 0 of a URL's. Raises InputError if it cannot be read, or a URL may not be fetched."""
    if is_url(shard):
        require_known_scheme(shard)
        return ShardState(0, 0, is_done=False)
    try:
        status = os.stat(shard)
    except OSError as error:
        raise InputError(f"{shard}: cannot be read ({error.strerror}); name shards that exist") from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{shard}: is no regular file; name tar files")
    return ShardState(status.st_size, status.st_mtime_ns, is_done=False)


class ShardReader:
    """Opens shards in order: the next one is fetched and scanned in the background while the photos of one are embedded.

    folder: for copies of shards behind URLs; removed at the beginning and at the end. Iterating yields None now and then while
    a shard is on its way, so that signals are handled. Raises InputError if the disk is full.
    """

    def __init__(self, work: list[ShardWork], folder: Path):
        self.work, self.folder = work, folder
        self._unreachable: dict[str, str] = {}  # {host: why}

    def __enter__(self) -> "ShardReader":
        shutil.rmtree(self.folder, ignore_errors=True)  # of a killed process
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def __iter__(self) -> Iterator[OpenedShard | None]:
        ahead = self._opening(0)
        while ahead is not None:
            number, future = ahead
            while not wait([future], POLL_SECONDS).done:
                yield None
            opened = future.result()
            ahead = self._opening(number + 1)
            yield opened

    def _opening(self, number: int) -> tuple[int, Future[OpenedShard]] | None:
        """A shard that a thread opens from now on; None after the last."""
        return (number, _in_background(lambda: self._open(number))) if number < len(self.work) else None

    def _open(self, number: int) -> OpenedShard:
        shard, known, left_out = self.work[number]
        copy = self.folder / f"{number}.tar"
        try:
            if is_url(shard):
                self._fetch(shard, copy)
            file = str(copy) if is_url(shard) else shard
            found = scan(shard, file)
        except InputError as error:
            with suppress(OSError):
                copy.unlink()
            if is_disk_full(error):
                raise
            return OpenedShard(shard, shard, [], [], ShardState(0, 0, is_done=False), Counter(), str(error))
        state = state_of(shard) if is_url(shard) else ShardState(found.size, found.changed, is_done=False)
        wanted = {photo.path: photo for photo in found.photos if not is_below(photo.path, left_out)}
        photos = [photo for path, photo in wanted.items() if photo not in known and path not in found.unsupported]
        stale = [photo for photo in known if photo.path not in wanted]
        return OpenedShard(shard, file, photos, stale, state, Counter(found.unsupported.values()))

    def _fetch(self, url: str, copy: Path) -> None:
        """No other shard is fetched from a server that did not answer."""
        host = host_of(url)
        if host in self._unreachable:
            raise InputError(f"{url}: not fetched, because of an earlier fault ({self._unreachable[host]})")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            fetch(url, copy)
        except Unreachable as error:
            self._unreachable[host] = str(error)
            raise
        except OSError as error:
            raise InputError(f"{self.folder}: cannot be made ({error.strerror}); index into another folder") from error


def copies_of(index: Path, rank: str) -> Path:
    """The folder for a rank's copies of shards behind URLs."""
    return index / f"{FETCHED}{rank}"


def remove_copies(index: Path) -> None:
    """Remove what killed processes left."""
    for folder in index.glob(f"{FETCHED}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _in_background(function: Callable[[], OpenedShard]) -> Future[OpenedShard]:
    """Runs in a daemon thread, for which the end of the program does not wait."""
    future = Future[OpenedShard]()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def read_photo(photo: PhotoFile) -> MemberBytes:
    """The bytes of an indexed photo in a shard, local or behind an HTTP URL.

    Raises InputError, and OSError as `read_member` does, if they cannot be read or the shard has changed.
    """
    if not is_url(photo.shard):
        return read_member(photo, photo.shard)
    require_bounded(photo)
    return MemberBytes(fetch_part(photo.shard, photo.offset, photo.size, photo.changed), photo.path)
