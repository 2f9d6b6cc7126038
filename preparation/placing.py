"""Putting images where they belong: by hard link, copy, unpacking or shrinking, on all cores, and resumable."""

import contextlib
import functools
import multiprocessing
import os
import shutil
import signal
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

from preparation.layouts import Image
from preparation.shrinking import shrunk
from preparation.sources import Folder, Source, Zip, require_space
from utils.errors import InputError
from utils.progress import progress_bar

CHUNK = 64  # images given to a process at a time, at most
UNPACKED = ".unpacked"  # below the dataset's folder, while what cannot be unpacked in place is
Task = tuple[str, str, int]  # (file, or member of a zip file, target below the dataset's folder, side to shrink to or 0)


@dataclass(frozen=True)
class Manner:
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
    """How many images were put in place and shrunk, and what is wrong with those that could not be looked at."""

    images: int = 0
    shrunk: int = 0
    unreadable: list[str] = field(default_factory=list)

    def add(self, other: "Placed") -> None:
        self.images += other.images
        self.shrunk += other.shrunk
        self.unreadable += other.unreadable


def place(images: list[Image], manner: Manner) -> Placed:
    """Put images in their places, each under another name first; shows a bar.

    Raises InputError if the disk is too small or full, a folder cannot be written, or an archive turns out to be damaged.
    """
    of_source: dict[Source, list[Image]] = defaultdict(list)
    for image in images:
        of_source[image.source].append(image)
    require_space([(s, [i.name for i in found]) for s, found in of_source.items() if not isinstance(s, Folder)], manner.root)
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
        yield source.path
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


def _job(source: Source, manner: Manner) -> Callable[[list[Task]], Placed]:
    if isinstance(source, Folder):
        take = shutil.copyfile if manner.copies else _link
    else:
        take = _move  # out of where it was unpacked
    return functools.partial(_place_chunk, manner.root, source.path if isinstance(source, Zip) else None, take)


def _chunks(source: Source, images: list[Image], folder: Path | None, manner: Manner) -> list[list[Task]]:
    """The work on these images in parts that keep all processes busy."""
    if isinstance(source, Zip):
        tasks = [(source.members[image.name], image.target, manner.side_of(image)) for image in images]
    else:
        tasks = [(f"{folder}/{image.name}", image.target, manner.side_of(image)) for image in images]
    size = min(CHUNK, -(-len(tasks) // (4 * manner.workers)))
    return [tasks[start : start + size] for start in range(0, len(tasks), size)]


@contextlib.contextmanager
def _pool(manner: Manner, images: list[Image]) -> Iterator[Callable]:
    """A function (function, chunks) → results as they come; in this process where more would not be worth their start."""
    is_quick = len(images) <= CHUNK and not any(map(manner.side_of, images))
    if manner.workers == 1 or len(images) < 2 or is_quick:
        yield map
        return
    pool = ProcessPoolExecutor(manner.workers, multiprocessing.get_context("spawn"), _leave_ctrl_c_to_main)

    def run(function: Callable, chunks: list) -> Iterator:
        return (done.result() for done in as_completed([pool.submit(function, chunk) for chunk in chunks]))

    try:
        yield run
    except BrokenProcessPool as error:
        raise InputError("a process was ended from outside, for want of memory perhaps; try a smaller --num_workers") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _leave_ctrl_c_to_main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _place_chunk(root: Path, packed: Path | None, take: Callable, tasks: list[Task]) -> Placed:
    """packed: the zip file that tasks name members of; take: called with a file and its new name."""
    placed, archive = Placed(), _opened(packed, packed.stat().st_mtime_ns) if packed else None
    for name, target, side in tasks:
        path = root / target
        temporary = path.with_name(f".{path.name}.placing")
        try:
            temporary.unlink(missing_ok=True)  # a killed run's may be a link to the user's own file
            content = archive.read(name) if archive else None
            smaller = _shrunk(name if content is None else content, name, target, side, placed)
            _write(temporary, name, content if smaller is None else smaller, take)
            os.replace(temporary, path)
        except OSError as error:
            where = error.filename or path
            raise InputError(f"{where}: {error.strerror or error}; mend that, and run the same command to go on") from error
        except Exception as error:  # unpacking what is damaged can fail in nearly any way
            raise InputError(f"{packed}: its member {name!r} is damaged ({error}); download it again") from error
        finally:
            temporary.unlink(missing_ok=True)
        placed.images += 1
        placed.shrunk += smaller is not None
    return placed


def _shrunk(image: str | bytes, name: str, target: str, side: int, placed: Placed) -> bytes | None:
    """None where it stays as it is; an image that cannot be read does, and is noted."""
    try:
        return shrunk(Path(image) if isinstance(image, str) else image, side) if side else None
    except ValueError as error:
        reason = " ".join(str(error).replace(repr(name), "it").split())
        placed.unreadable.append(f"{target}: {reason}")
        return None


def _write(temporary: Path, file: str, content: bytes | None, take: Callable) -> None:
    """To a name that is free: the content, or else the file."""
    if content is None:
        take(file, temporary)
    else:
        temporary.write_bytes(content)


def _move(source: str, temporary: Path) -> None:
    os.replace(source, temporary)
    os.utime(temporary)  # 7z files are unpacked with the times they had; what is placed tells when


def _link(source: str, temporary: Path) -> None:
    try:
        os.link(os.path.realpath(source), temporary)
    except OSError:  # another disk, a file system without links, another user's file
        shutil.copyfile(source, temporary)


@functools.lru_cache(maxsize=2)
def _opened(path: Path, changed: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)
