"""Images brought to their places by hard link, copying, unpacking or shrinking, in several processes."""

import contextlib
import functools
import os
import shutil
import signal
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from preparation.archives import BUFFER, FREE_SPACE, ZIP, Archive
from preparation.layouts import Image
from preparation.shrinking import note_unreadable, shrunk
from preparation.sources import Source
from utils.errors import InputError
from utils.files import hidden_beside, report_full_disk
from utils.progress import progress_bar
from utils.text import one_line
from utils.workers import process_pool

CHUNK = 64  # images given to a process at a time, at most
SIDE = 256  # pixels of the shorter side of the published images
UNPACKED = ".unpacked"  # below the dataset's folder, while tar and 7z archives are unpacked
Task = tuple[str, str, int]  # (file, or member of a zip file; target below the dataset's folder; side to shrink to or 0)
Job = Callable[[list[Task]], tuple[int, int]]  # → (how many images were copied, how many of them shrunk)
Take = Callable[[str, Path], object]  # brings that file or member to a new path


@dataclass(frozen=True)
class CopyOptions:
    """side: pixels that larger images are shrunk to, 0 for never; None: 256, except for images as published."""

    root: Path
    side: int | None
    copies: bool  # rather than hard links
    workers: int

    def side_of(self, image: Image) -> int:
        """Pixels that this image is shrunk to if it is larger; 0: never."""
        if self.side is None:
            return 0 if image.is_ready else SIDE
        return self.side


def require_space(images: list[Image], at: Path) -> None:
    """Raise InputError if the images in archives do not fit on the disk of the folder `at`."""
    needed = sum(
        source.unpacked_size([image.name for image in found])
        for source, found in _by_source(images).items()
        if isinstance(source, Archive)
    )
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


def copy_images(images: list[Image], options: CopyOptions) -> int:
    """Bring images to their places, each complete under another name first; returns how many were shrunk.

    Raises InputError if the disk is full, a folder cannot be written, or an archive turns out to be damaged.
    """
    by_source = _by_source(images)
    aside = options.root / UNPACKED
    count = 0
    try:
        shutil.rmtree(aside, ignore_errors=True)  # a killed run's
        opened = {source: _opened(source, found, options, aside) for source, found in by_source.items()}
        is_quick = len(images) <= CHUNK and not any(map(options.side_of, images))  # starting processes would take longer
        alone = options.workers == 1 or len(images) < 2 or is_quick
        started = contextlib.nullcontext() if alone else process_pool(options.workers, _ignore_ctrl_c)
        with started as pool, progress_bar(len(images), "copying images", "img") as bar:
            for source, found in by_source.items():
                take, place = opened[source]
                tasks = [(place(image.name), image.target, options.side_of(image)) for image in found]
                size = min(CHUNK, -(-len(tasks) // (4 * options.workers)))
                chunks = [tasks[start : start + size] for start in range(0, len(tasks), size)]
                for copied, smaller in _run(pool, functools.partial(_copy_chunk, options.root, take), chunks):
                    bar.update(copied)
                    count += smaller
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return count


def _opened(source: Source, images: list[Image], options: CopyOptions, aside: Path) -> tuple[Take, Callable[[str], str]]:
    """How images of the source are taken, and a function from their names to the file or member to take."""
    if not isinstance(source, Archive):
        folder = os.path.realpath(source.path)
        return shutil.copyfile if options.copies else _link, lambda name: f"{folder}/{name}"
    if source.form is ZIP:
        members = source.members
        return functools.partial(_unzip, source.path, source.path.stat().st_mtime_ns), lambda name: members[name].raw
    aside.mkdir(exist_ok=True)
    unpacked = tempfile.mkdtemp(dir=aside, prefix=f"{source.path.name}.")
    source.unpack([image.name for image in images], Path(unpacked))
    return _move, lambda name: f"{unpacked}/{name}"


def _run(pool: ProcessPoolExecutor | None, job: Job, chunks: list[list[Task]]) -> Iterator[tuple[int, int]]:
    """Results of a job as they come; without a pool, this process does the work."""
    if pool is None:
        yield from map(job, chunks)
        return
    try:
        for done in as_completed([pool.submit(job, chunk) for chunk in chunks]):
            yield done.result()
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process was ended from outside, perhaps because memory ran out; try a smaller --num_workers"
        ) from error


def _ignore_ctrl_c() -> None:
    """The main process handles it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _copy_chunk(root: Path, take: Take, tasks: list[Task]) -> tuple[int, int]:
    smaller = 0
    for name, target, side in tasks:
        path = root / target
        temporary = hidden_beside(path, "placing")
        try:
            temporary.unlink(missing_ok=True)  # a killed run may have left a link to the user's own file
            with report_full_disk(path, f"{FREE_SPACE}, or choose another --output"):
                path.parent.mkdir(parents=True, exist_ok=True)
                take(name, temporary)
                smaller += _shrink(temporary, target, side, root)
            os.replace(temporary, path)
        except OSError as error:
            where = error.filename or path
            raise InputError(
                f"{where}: {error.strerror or one_line(error)}; correct that, then run the same command again"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)
    return len(tasks), smaller


def _shrink(image: Path, target: str, side: int, root: Path) -> bool:
    """Whether the image was larger than `side`; one that cannot be read is noted, and stays."""
    try:
        content = shrunk(image, side) if side else None
    except ValueError as error:
        note_unreadable(root, target, one_line(error).replace(repr(str(image)), "it"))
        return False
    if content is not None:
        image.unlink()  # it may be a link to the user's own file
        image.write_bytes(content)
    return content is not None


def _move(source: str, temporary: Path) -> None:
    os.replace(source, temporary)
    os.utime(temporary)  # py7zr restores the time of change; existing_files.py needs the time of copying


def _link(source: str, temporary: Path) -> None:
    """A hard link; a copy if that is impossible, or if the file is reached through a symbolic link."""
    try:
        if os.path.realpath(source) != source:
            raise OSError("reached through a symbolic link")
        os.link(source, temporary)
    except OSError:  # another disk, a file system without links, another user's file
        shutil.copyfile(source, temporary)


def _unzip(path: Path, changed: int, name: str, temporary: Path) -> None:
    """Unpack a member, at most as many bytes as it claims."""
    try:
        with _zip_file(path, changed).open(name) as member, temporary.open("wb") as file:
            shutil.copyfileobj(member, file, BUFFER)
    except OSError:
        raise
    except Exception as error:  # unpacking what is damaged can fail in nearly any way
        raise InputError(f"{path}: its member {name!r} is damaged ({one_line(error)}); download it again") from error


@functools.lru_cache(maxsize=2)
def _zip_file(path: Path, changed: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)
