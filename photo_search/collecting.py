"""Photos below folders, as they are named to be indexed."""

import os
from collections.abc import Iterator
from pathlib import Path

from photo_search.store import PhotoFile
from utils.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm")


def collect(roots: list[Path]) -> dict[str, PhotoFile]:
    """{absolute path: photo} of files given and of all photos below folders given; hidden ones are left out.

    Raises InputError if one of the roots is not there or cannot be read.
    """
    found = {}
    for root in roots:
        if not root.exists():
            raise InputError(f"{root}: no such file or folder; name photos, or folders that hold some")
        for path in [os.path.abspath(root)] if root.is_file() else _below(os.path.abspath(root)):
            try:
                status = os.stat(path)
            except OSError:
                continue  # gone since it was listed
            found[path] = PhotoFile(path, status.st_size, status.st_mtime_ns)
    return found


def is_below(path: str, roots: list[str]) -> bool:
    """Whether an absolute path is one of these, or lies in one."""
    return any(path == root or path.startswith(root.rstrip(os.sep) + os.sep) for root in roots)


def _below(root: str) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        if error.filename == root:
            raise InputError(f"{root}: cannot be read ({error.strerror}); choose a folder that you may read") from error
        print(f"note: {error.filename}: cannot be read ({error.strerror}), left out")

    for folder, folders, files in os.walk(root, onerror=refuse, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = os.path.join(folder, name)
            if name.lower().endswith(SUFFIXES) and not name.startswith(".") and os.path.isfile(path):
                yield path
