"""Files that are either there whole or not at all."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from utils.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def require_writable(path: Path, option: str, suffix: str) -> None:
    """Raise InputError, before any work is done, if a file of this kind cannot be written there."""
    if path.suffix != suffix or path.is_dir():
        raise InputError(f"{option} {path}: give a file name that ends in {suffix}")
    probe = path.with_name(f".{path.name}.probe")
    try:
        with written_whole(probe):
            pass
        probe.unlink()
    except InputError as error:
        raise InputError(f"{option} {path}: nothing can be written there; choose another place") from error


@contextlib.contextmanager
def held_by_one(path: Path, waiting: str) -> Iterator[bool]:
    """The block runs in one process at a time; others say `waiting` and wait. A process that ends, however, lets go.

    `path` is a lock file, made if need be and left there. Gives False, and holds nobody up, where the file system knows no
    locks. Raises InputError if the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _lock_file(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from error
    with file:
        is_held = _locked(file, waiting)
        try:
            yield is_held
        finally:
            if is_held:
                fcntl.flock(file, fcntl.LOCK_UN)  # closing would not do while a worker process still has the file open


def _lock_file(path: Path) -> IO:
    """In a shared folder it may be another user's, who may let us read it only; that is enough to lock it."""
    try:
        return open(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "rb+")
    except PermissionError:
        return path.open("rb")


def _locked(file: IO, waiting: str) -> bool:
    if fcntl is None:
        return False
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(waiting, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside `path` (same suffix); renamed to `path` if the block succeeds, removed if it fails.

    Raises InputError if the folder or the file cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
        os.close(handle)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from error
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp's 0600 would lock out the people a run folder is shared with
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}); free space or choose another") from error
    finally:
        temporary.unlink(missing_ok=True)
