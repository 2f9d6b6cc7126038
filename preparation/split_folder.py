"""The folder of a split's lists: written all at once where it is new, file by file where it is not."""

import os
import shutil
import tempfile
from pathlib import Path

from datasets.file_lists import MASK_ARRAYS, MASK_PICKLE
from utils.errors import InputError
from utils.files import atomic_write, umask


def require_free(folder: Path, files: dict[str, bytes], force: bool) -> None:
    """Raise InputError, unless `force`, if the split's folder has a file of another content."""
    for name, content in files.items():
        path = folder / name
        if not force and path.exists() and path.read_bytes() != content:
            raise InputError(
                f"{path}: is there already and says something else; --force replaces the lists, or give another --output"
            )


def write_split(folder: Path, files: dict[str, bytes]) -> None:
    """The folder at once if it is new, else each file whole; on the disk before that is everything they name.

    A mask of an earlier preparation goes where `files` have none and the classes are others.
    """
    if hasattr(os, "sync"):
        os.sync()
    if folder.exists():
        _remove_stale_masks(folder, files)
        for name, content in files.items():
            _write_if_new(folder / name, content)
        return
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        for name, content in files.items():
            _write_if_new(aside / name, content)
        aside.chmod(0o777 & ~umask())
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _remove_stale_masks(folder: Path, files: dict[str, bytes]) -> None:
    names = folder / "cname_cid.txt"
    has_same_classes = names.exists() and names.read_bytes() == files[names.name]
    has_other_pickle = MASK_PICKLE in files and (folder / MASK_PICKLE).exists() and _differs(folder / MASK_PICKLE, files)
    if not has_same_classes or has_other_pickle:
        for name in {MASK_ARRAYS, MASK_PICKLE} - set(files):
            (folder / name).unlink(missing_ok=True)


def _differs(path: Path, files: dict[str, bytes]) -> bool:
    return path.read_bytes() != files[path.name]


def _write_if_new(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        with atomic_write(path) as temporary:
            temporary.write_bytes(content)
