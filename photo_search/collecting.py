"""The photos in the files and folders that are to be indexed."""

import os
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from datasets.images import HEIF_SUFFIXES, IMAGE_SUFFIXES, missing_readers
from photo_search.store import PhotoFile
from utils.errors import InputError
from utils.text import printable

SEPARATORS = {os.sep, "/"}  # of folders, and in the names of photos in shards


@dataclass
class Collected:
    """photos: {absolute path: photo}. links: {absolute path of a root or photo: its target}, where the path holds a link.

    unlisted: folders that cannot be listed. unsupported: {absolute path of a HEIC or AVIF photo: the command that installs what
    reads it, which is missing}. tar_files: absolute paths.
    """

    photos: dict[str, PhotoFile] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    unlisted: list[str] = field(default_factory=list)
    unsupported: dict[str, str] = field(default_factory=dict)
    tar_files: list[str] = field(default_factory=list)


def collect(roots: Iterable[Path]) -> Collected:
    """Files and the photos below folders, hidden ones left out. Raises InputError if a root does not exist or cannot be read."""
    found, roots = Collected(), list(roots)
    require_existing(roots)
    for root in roots:
        path = os.path.abspath(root)
        _note_link(path, found)
        if root.is_file():
            _take(path, found)
        else:
            _take_below(path, found)
    missing = missing_readers()
    suffixes = {path: os.path.splitext(path)[1].lower() for path in found.photos}
    found.unsupported = {path: missing[suffix] for path, suffix in suffixes.items() if suffix in missing}
    return found


def require_existing(roots: Iterable[Path]) -> None:
    """Raise InputError if one of them does not exist."""
    for root in roots:
        if not root.exists():
            raise InputError(f"{root}: no such file or folder; name photos, or folders that hold some")


def is_below(path: str, places: Collection[str]) -> bool:
    """Whether an absolute path is one of these, or lies in one."""
    return any(each in places for each in holders(path))


def deepest(path: str, places: Collection[str]) -> int:
    """Length of the longest of these paths that an absolute path is or lies in; -1 if there is none."""
    return max((len(each) for each in holders(path) if each in places), default=-1)


def holders(path: str) -> Iterator[str]:
    """An absolute path, or the name of a photo in a shard, and all that it lies in: `/a/b` → `/a/b`, `/a`, `/`."""
    yield path
    for at in range(len(path) - 1, -1, -1):
        if path[at] in SEPARATORS:
            yield path[:at]
            yield path[: at + 1]  # the root of a drive ends in a separator


def _note_link(path: str, found: Collected) -> None:
    real_path = os.path.realpath(path)
    if real_path != path:
        found.links[path] = real_path


def _take(path: str, found: Collected) -> None:
    try:
        status = os.stat(path)
    except OSError:
        return  # gone since it was listed
    found.photos[path] = PhotoFile(path, status.st_size, status.st_mtime_ns)


def _take_below(root: str, found: Collected) -> None:
    def skip(error: OSError) -> None:
        if error.filename == root:
            raise InputError(f"{root}: cannot be read ({error.strerror}); choose a folder that you may read") from error
        print(f"note: {printable(error.filename)}: cannot be read ({error.strerror}), left as it was", file=sys.stderr)
        found.unlisted.append(error.filename)

    for folder, folders, files in os.walk(root, onerror=skip, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in files if not name.startswith(".")):
            path = os.path.join(folder, name)
            if name.lower().endswith(".tar"):
                found.tar_files.append(path)
            if name.lower().endswith((*IMAGE_SUFFIXES, *HEIF_SUFFIXES)) and os.path.isfile(path):
                _take(path, found)
                if os.path.islink(path):
                    _note_link(path, found)
