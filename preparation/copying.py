"""Putting images where they belong: by hard link, copy, unpacking or shrinking, on all cores, and resumable."""

import contextlib
import functools
import os
import shutil
import signal
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

from preparation.layouts import Image
from preparation.shrinking import shrunk
from preparation.sources import BUFFER, FREE_SPACE, Archive, Folder, Source, Zip
from preparation.unreadable import note_unreadable
from utils.errors import InputError
from utils.files import full_disk_named, hidden_beside
from utils.pools import process_pool
from utils.progress import progress_bar
from utils.text import one_line

CHUNK = 64  # images given to a process at a time, at most
UNPACKED = ".unpacked"  # below the dataset's folder, while what cannot be unpacked in place is
Task = tuple[str, str, int]  # (file, or member of a zip file, target below the dataset's folder, side to shrink to or 0)


@dataclass(frozen=True)
class CopyOptions:
    """side: what larger images are shrunk to, in pixels, 0 for never; None: 256, and never what is in its published form."""

    root: Path
    side: int | None
    copies: bool  # rather than hard links
    workers: int

    def side_of(self, image: Image) -> int:
        """What this image is shrunk to if it is larger; 0: it is left as it is."""
        if self.side is None:
            return 0 if image.is_ready else 256
        return self.side


@dataclass
class Placed:
    """How many images were put in place and shrunk, and {target: what is wrong with it} of those that cannot be read."""

    images: int = 0
    shrunk: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)

    def add(self, other: "Placed") -> None:
        self.images += other.images
        self.shrunk += other.shrunk
        self.unreadable |= other.unreadable


def require_space(images: list[Image], at: Path) -> None:
    """Raise InputError if those of the images that lie in archives do not fit on the disk of the folder `at`."""
    of_source = _by_source(images)
    needed = sum(s.bytes_of([image.name for image in found]) for s, found in of_source.items() if isinstance(s, Archive))
    free = shutil.disk_usage(at).free
    if needed > free:
        raise InputError(
            f"{at}: {needed / 1e6:,.0f} MB are to be unpacked, {free / 1e6:,.0f} MB are free; choose another --output"
        )


def _by_source(images: list[Image]) -> dict[Source, list[Image]]:
    found: dict[Source, list[Image]] = defaultdict(list)
    for image in images:
        found[image.source].append(image)
    return found


def place(images: list[Image], manner: CopyOptions) -> Placed:
    """Put images in their places, each under another name first; shows a bar.

    Raises InputError if the disk is full, a folder cannot be written, or an archive turns out to be damaged.
    """
    of_source = _by_source(images)
    _make_folders(manner.root, images)
    placed = Placed()
    with contextlib.ExitStack() as unpacked:
        folders = {source: unpacked.enter_context(_unpacked(source, found, manner.root)) for source, found in of_source.items()}
        with progress_bar(len(images), "placing images", "img") as bar, _pool(manner, images) as run:
            for source, found in of_source.items():
                for done in run(_job(source, manner), _chunks(source, found, folders[source], manner)):
                    placed.add(done)
                    bar.update(done.images)
    return placed


def _make_folders(root: Path, images: list[Image]) -> None:
    for folder in {image.target.rpartition("/")[0] for image in images}:
        try:
            (root / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{root / folder}: cannot be made ({error.strerror}); choose another --output") from error


@contextlib.contextmanager
def _unpacked(source: Source, images: list[Image], root: Path) -> Iterator[Path | None]:
    """The folder in which the images lie under their names; None if any process can read them from the archive itself."""
    if isinstance(source, Zip):
        yield None
    elif isinstance(source, Folder):
        yield Path(os.path.realpath(source.path))
    else:
        at = root / UNPACKED / source.path.name
        shutil.rmtree(at, ignore_errors=True)
        try:
            at.mkdir(parents=True)
            source.unpack({image.name for image in images}, at)
            yield at
        finally:
            shutil.rmtree(at, ignore_errors=True)
            with contextlib.suppress(OSError):  # another archive's is still there
                (root / UNPACKED).rmdir()


def _job(source: Source, manner: CopyOptions) -> Callable[[list[Task]], Placed]:
    if isinstance(source, Folder):
        take = shutil.copyfile if manner.copies else _link
    else:
        take = _stay if isinstance(source, Zip) else _move  # out of where it was unpacked
    return functools.partial(_place_chunk, manner.root, source.path if isinstance(source, Zip) else None, take)


def _chunks(source: Source, images: list[Image], folder: Path | None, manner: CopyOptions) -> list[list[Task]]:
    """The work on these images in parts that keep all processes busy."""
    if isinstance(source, Zip):
        tasks = [(source.members[image.name].raw, image.target, manner.side_of(image)) for image in images]
    else:
        tasks = [(f"{folder}/{image.name}", image.target, manner.side_of(image)) for image in images]
    size = min(CHUNK, -(-len(tasks) // (4 * manner.workers)))
    return [tasks[start : start + size] for start in range(0, len(tasks), size)]


@contextlib.contextmanager
def _pool(manner: CopyOptions, images: list[Image]) -> Iterator[Callable]:
    """A function (function, chunks) → results as they come; in this process where more would not be worth their start."""
    is_quick = len(images) <= CHUNK and not any(map(manner.side_of, images))
    if manner.workers == 1 or len(images) < 2 or is_quick:
        yield map
        return
    with process_pool(manner.workers, _leave_ctrl_c_to_main) as pool:
        if pool is None:
            yield map
            return

        def run(function: Callable, chunks: list) -> Iterator:
            return (done.result() for done in as_completed([pool.submit(function, chunk) for chunk in chunks]))

        try:
            yield run
        except BrokenProcessPool as error:
            raise InputError(
                "a worker process was ended from outside, perhaps because memory ran out; try a smaller --num_workers"
            ) from error


def _leave_ctrl_c_to_main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _place_chunk(root: Path, packed: Path | None, take: Callable, tasks: list[Task]) -> Placed:
    """packed: the zip file that tasks name members of; take: called with a file and its new name."""
    placed, archive = Placed(), _opened(packed, packed.stat().st_mtime_ns) if packed else None
    for name, target, side in tasks:
        path = root / target
        temporary = hidden_beside(path, "placing")
        try:
            temporary.unlink(missing_ok=True)  # a killed run's may be a link to the user's own file
            with full_disk_named(path, f"{FREE_SPACE}, or choose another --output"):
                if archive:
                    _unpack(archive, name, temporary)
                smaller = _shrunk(temporary if archive else Path(name), target, side, root, placed)
                _write(temporary, name, smaller, take)
            os.replace(temporary, path)
        except InputError:
            raise
        except OSError as error:
            where = error.filename or path
            raise InputError(
                f"{where}: {error.strerror or one_line(error)}; correct that, then run the same command again"
            ) from error
        except Exception as error:  # unpacking what is damaged can fail in nearly any way
            raise InputError(f"{packed}: its member {name!r} is damaged ({one_line(error)}); download it again") from error
        finally:
            temporary.unlink(missing_ok=True)
        placed.images += 1
        placed.shrunk += smaller is not None
    return placed


def _unpack(archive: zipfile.ZipFile, name: str, temporary: Path) -> None:
    """A member's bytes, at most as many as it claims, a part at a time."""
    with archive.open(name) as member, temporary.open("wb") as file:
        shutil.copyfileobj(member, file, BUFFER)


def _shrunk(image: Path, target: str, side: int, root: Path, placed: Placed) -> bytes | None:
    """None where it stays as it is; an image that cannot be read does, and is noted."""
    try:
        return shrunk(image, side) if side else None
    except ValueError as error:
        fault = one_line(error).replace(repr(str(image)), "it")
        note_unreadable(root, target, fault)
        placed.unreadable[target] = fault
        return None


def _write(temporary: Path, file: str, content: bytes | None, take: Callable) -> None:
    """To the temporary name: the content, or else the file."""
    if content is None:
        take(file, temporary)
    else:
        temporary.write_bytes(content)


def _stay(source: str, temporary: Path) -> None:
    """A member of a zip file has been unpacked to the temporary name already."""


def _move(source: str, temporary: Path) -> None:
    os.replace(source, temporary)
    os.utime(temporary)  # 7z files are unpacked with the times they had; what is placed tells when


def _link(source: str, temporary: Path) -> None:
    """A hard link, but a copy of what is reached through a symbolic link, which may be anybody's file."""
    try:
        if os.path.realpath(source) != source:
            raise OSError("reached through a symbolic link")
        os.link(source, temporary)
    except OSError:  # another disk, a file system without links, another user's file
        shutil.copyfile(source, temporary)


@functools.lru_cache(maxsize=2)
def _opened(path: Path, changed: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)
