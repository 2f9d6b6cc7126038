"""The folder of a split's lists: written all at once where it is new, file by file where it is not."""

import contextlib
import os
import tempfile
from pathlib import Path

from utils.errors import InputError
from utils.files import written_whole


def require_free(folder: Path, files: dict[str, bytes], force: bool) -> None:
    """Raise InputError, unless `force`, if the split's folder has a file of another content."""
    for name, content in files.items():
        path = folder / name
        if not force and path.exists() and path.read_bytes() != content:
            raise InputError(
                f"{path}: is there already and says something else; --force replaces the lists, or give another --output"
            )


def write_split(folder: Path, files: dict[str, bytes]) -> None:
    """The folder at once if it is new, else each file whole; on the disk before that is everything they name."""
    os.sync() if hasattr(os, "sync") else None
    if folder.exists():
        for name, content in files.items():
            _write_if_new(folder / name, content)
        return
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    with contextlib.ExitStack() as undo:
        for name, content in files.items():
            undo.callback((aside / name).unlink, missing_ok=True)
            _write_if_new(aside / name, content)
        aside.chmod(0o777 & ~_umask())
        aside.rename(folder)
        undo.pop_all()


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def _write_if_new(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        with written_whole(path) as temporary:
            temporary.write_bytes(content)
