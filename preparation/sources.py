"""A folder of images on disk as a source, and what it shares with archives (archives.py)."""

import filecmp
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from datasets.images import IMAGE_SUFFIXES
from utils.errors import InputError

JOURNAL = ".placed.json"  # in a dataset's folder: the sources of its images and how they were copied
Take = Callable[[str, Path], None]  # writes the file of this name to a path; threads may call it at the same time


class Source:
    """Names of the files and folders in a folder or an archive, with `/` between their parts, without hidden ones.

    where: the end of the source's own path, which stands before a name when its layout is recognised.
    journals: names of journals that earlier preparations wrote. left_out: {what has no name here: how many}.
    """

    journals: frozenset[str] = frozenset()

    def __init__(self, path: Path, names: list[str], folders: set[str]):
        self.path, self.names, self.folders = path, names, folders
        self.left_out: Counter[str] = Counter()
        self.where = "/".join(Path(os.path.abspath(path)).parts[-3:])

    def identity(self) -> list[str | int]:
        """Equal for the same source in another run: its path, and size and time of change of an archive."""
        status = self.path.stat()
        return [str(self.path.resolve()), *([] if self.path.is_dir() else [status.st_size, status.st_mtime_ns])]

    def size(self, name: str) -> int:
        """Bytes of a file."""
        raise NotImplementedError

    def open(self, names: Sequence[str], aside: Path, copies: bool = True) -> AbstractContextManager[Take]:
        """Yield a `Take` of these files, each to be taken once; InputError, also from `Take`, if the source is damaged.

        aside: an existing folder on the disk of the target paths. copies: never make hard links.
        """
        raise NotImplementedError

    def read(self, names: list[str], largest: int) -> dict[str, bytes]:
        """Content of these files except those of more than `largest` bytes. Raises InputError if the source is damaged."""
        small = [name for name in names if self.size(name) <= largest]
        content = {}
        with tempfile.TemporaryDirectory() as aside, self.open(small, Path(aside)) as take:
            for name in small:
                take(name, Path(aside, "taken"))
                content[name] = Path(aside, "taken").read_bytes()
        return content

    def equals(self, name: str, path: Path) -> bool:
        """Whether the file at `path` has the content of `name`; False if that cannot be known without unpacking."""
        return False


class Folder(Source):
    """A folder, with the folders and files that links in it point to. Raises InputError if an image is a broken link."""

    def __init__(self, path: Path):
        names: list[str] = []
        folders: set[str] = set()
        special: list[str] = []
        root = os.path.join(path, "")
        for entry in _walk(root):
            name = entry.path.removeprefix(root).replace(os.sep, "/")
            if entry.is_dir():
                folders.add(name)
            elif entry.is_file():
                names.append(name)
            elif not os.path.exists(entry.path) and name.lower().endswith(IMAGE_SUFFIXES):
                raise InputError(f"{entry.path}: a link to a file that does not exist; correct it, or remove it")
            else:
                special.append(name)
        super().__init__(path, sorted(names), folders)
        if special:
            self.left_out[f"devices and other special files in {path} (the first: {min(special)})"] = len(special)
        journals = (f"{folder}/{JOURNAL}".removeprefix("/") for folder in ("", *folders))
        self.journals = frozenset(journal for journal in journals if (path / journal).exists())

    def file(self, name: str) -> Path:
        return self.path / name

    def size(self, name: str) -> int:
        return self.file(name).stat().st_size

    def open(self, names: Sequence[str], aside: Path, copies: bool = True) -> AbstractContextManager[Take]:
        real = os.path.realpath(self.path)
        copy = shutil.copyfile if copies else _link
        return nullcontext(lambda name, target: copy(f"{real}/{name}", target))

    def equals(self, name: str, path: Path) -> bool:
        return filecmp.cmp(self.file(name), path, shallow=False)


def _link(source: str, target: Path) -> None:
    """A hard link; a copy if that is impossible, or if the file is reached through a symbolic link."""
    try:
        if os.path.realpath(source) != source:
            raise OSError("reached through a symbolic link")
        os.link(source, target)
    except OSError:  # another disk, a file system without links, another user's file
        shutil.copyfile(source, target)


def is_hidden(name: str) -> bool:
    """Whether a file or folder name is hidden, or that of macOS's metadata."""
    return name.startswith(".") or name == "__MACOSX"


def _walk(folder: str, above: tuple[str, ...] = ()) -> Iterator[os.DirEntry[str]]:
    """Entries at any depth that are not hidden; links are followed, but no folder is entered within itself."""
    real = os.path.realpath(folder)
    if real in above:
        return
    with os.scandir(folder) as found:
        entries = [entry for entry in found if not is_hidden(entry.name)]
    for entry in entries:
        yield entry
        if entry.is_dir():
            yield from _walk(entry.path, (*above, real))
