"""Putting images where they belong: by hard link, copy, unpacking or shrinking, on all cores, and resumable."""

import contextlib
import filecmp
import functools
import multiprocessing
import os
import shutil
import signal
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from preparation.layouts import Image
from preparation.shrinking import shrunk
from preparation.sources import Folder, SevenZip, Source, Streamed, Zip, require_space
from utils.errors import InputError
from utils.progress import progress_bar

CHUNK = 64  # images given to a process at a time
UNPACKED = ".unpacked"  # below the dataset's folder, while what cannot be unpacked in place is


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


def missing(images: list[Image], manner: Manner, known: set[Source], force: bool) -> list[Image]:
    """Those of the images that are not in their place yet; with `force`, all but those that are that very file.

    `known` are the sources that an earlier run began to place in the same manner: what lies there is taken to be theirs. Raises
    InputError if another file is in an image's place.
    """
    present = _present(manner.root, {image.target for image in images})
    there = [image for image in images if image.target in present]
    same = {image.target for image in there if _is_itself(image, manner.root)}
    if force:
        return [image for image in images if image.target not in same]
    for image in there:
        if image.target in same or image.source in known or _is_equal(image, manner.root / image.target):
            continue
        raise InputError(
            f"{manner.root / image.target}: is there already, and not the same as {image.source.path}/{image.name}; "
            "replace such files with --force, or choose another --output"
        )
    return [image for image in images if image.target not in present]


def place(images: list[Image], manner: Manner) -> Placed:
    """Put images in their places, each under another name first; shows a bar.

    Raises InputError if the disk is too small or full, a folder cannot be written, or an archive turns out to be damaged.
    """
    of_source: dict[Source, list[Image]] = defaultdict(list)
    for image in images:
        of_source[image.source].append(image)
    _make_folders(manner.root, images)
    require_space([(s, [i.name for i in found]) for s, found in of_source.items() if not isinstance(s, Folder)], manner.root)
    placed = Placed()
    with progress_bar(len(images), "placing images", "img") as bar, _pool(manner, len(images)) as run:
        for source, found in of_source.items():
            with _unpacked(source, found, manner.root) as at:
                tasks = [(i.name if at is None else str(at / i.name), i.target, manner.side_of(i)) for i in found]
                packed = source.path if at is None else None
                chunks = [tasks[start : start + CHUNK] for start in range(0, len(tasks), CHUNK)]
                take = os.replace if isinstance(source, Streamed) else shutil.copyfile if manner.copies else _link
                for done in run(functools.partial(_place_chunk, manner.root, packed, take), chunks):
                    placed.add(done)
                    bar.update(done.images)
    return placed


def _present(root: Path, targets: Iterable[str]) -> set[str]:
    """Those targets that exist and are not empty, which a machine that lost its power may leave behind."""
    found = set()
    for folder in {target.rpartition("/")[0] for target in targets}:
        with contextlib.suppress(FileNotFoundError), os.scandir(root / folder) as entries:
            found |= {f"{folder}/{entry.name}" for entry in entries if entry.stat().st_size}
    return found.intersection(targets)


def _is_itself(image: Image, root: Path) -> bool:
    return isinstance(image.source, Folder) and os.path.samefile(image.source.file(image.name), root / image.target)


def _is_equal(image: Image, target: Path) -> bool:
    source = image.source
    if isinstance(source, Folder):
        return filecmp.cmp(source.file(image.name), target, shallow=False)
    if isinstance(source, Zip) and target.stat().st_size == source.sizes[image.name]:
        return zlib.crc32(target.read_bytes()) == source.checksums[image.name]
    return False


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
        at = root / UNPACKED
        shutil.rmtree(at, ignore_errors=True)
        try:
            _unpack(source, {image.name for image in images}, at)
            yield at
        finally:
            shutil.rmtree(at, ignore_errors=True)


def _unpack(source: Streamed, names: set[str], at: Path) -> None:
    if isinstance(source, SevenZip):
        at.mkdir()
        print(f"unpacking {source.path}", flush=True)
        source.unpack(names, at)
        return
    for folder in {name.rpartition("/")[0] for name in names}:
        (at / folder).mkdir(parents=True, exist_ok=True)
    for name, content in source.stream(names):
        with open(f"{at}/{name}", "wb") as file:
            file.write(content)


@contextlib.contextmanager
def _pool(manner: Manner, count: int) -> Iterator:
    """A function (function, chunks) → results as they come; in this process where more would not be worth their start."""
    if manner.workers == 1 or count <= CHUNK:
        yield map
        return
    pool = ProcessPoolExecutor(manner.workers, multiprocessing.get_context("spawn"), _leave_ctrl_c_to_main)

    def run(function, chunks: list) -> Iterator:
        return (done.result() for done in as_completed([pool.submit(function, chunk) for chunk in chunks]))

    try:
        yield run
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _leave_ctrl_c_to_main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _place_chunk(root: Path, packed: Path | None, take: Callable, tasks: list[tuple[str, str, int]]) -> Placed:
    """tasks: (file, or member of the archive `packed`, target below `root`, side to shrink to or 0).

    take: called with a file and its new name.
    """
    placed, archive = Placed(), _opened(packed, packed.stat().st_mtime_ns) if packed else None
    for name, target, side in tasks:
        path = root / target
        temporary = path.with_name(f".{path.name}.placing")
        try:
            was_shrunk = _write(temporary, name, archive, take, side, placed)
            os.replace(temporary, path)
        except OSError as error:
            where = error.filename or path
            raise InputError(f"{where}: {error.strerror or error}; mend that, and run the same command to go on") from error
        except Exception as error:  # unpacking what is damaged can fail in nearly any way
            raise InputError(f"{packed}: its member {name!r} is damaged ({error}); download it again") from error
        finally:
            temporary.unlink(missing_ok=True)
        placed.images += 1
        placed.shrunk += was_shrunk
    return placed


def _write(temporary: Path, name: str, archive: zipfile.ZipFile | None, take: Callable, side: int, placed: Placed) -> bool:
    """Write one image; whether it was shrunk. One that cannot be read is taken as it is, and noted."""
    content, smaller = archive.read(name) if archive else None, None
    if side:
        try:
            smaller = shrunk(Path(name) if content is None else content, side)
        except ValueError as error:
            placed.unreadable.append(f"{name}: {' '.join(str(error).split())}")
    if smaller is not None or content is not None:
        temporary.write_bytes(content if smaller is None else smaller)
    else:
        take(name, temporary)
    return smaller is not None


def _link(source: str, temporary: Path) -> None:
    temporary.unlink(missing_ok=True)
    try:
        os.link(os.path.realpath(source), temporary)
    except OSError:  # another disk, a file system without links, another user's file
        shutil.copyfile(source, temporary)


@functools.lru_cache(maxsize=2)
def _opened(path: Path, changed: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)
