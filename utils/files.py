"""Files that are either there whole or not at all."""

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from utils.errors import InputError, is_disk_full

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


LONG_NAME = 200  # bytes; most file systems end at 255, and temporary names add to them


def hidden_beside(path: Path, purpose: str) -> Path:
    """`.<digest>.<purpose>` in the folder of `path`: the same for the same name, and short however long that is."""
    return path.with_name(f".{_digest(path)}.{purpose}")


def _digest(path: Path) -> str:
    return hashlib.blake2b(os.fsencode(path.name), digest_size=8).hexdigest()


@contextlib.contextmanager
def full_disk_named(place: Path, advice: str) -> Iterator[None]:
    """Raise InputError with `place`, where the block writes, and `advice` if the disk or the quota is full."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise InputError(f"{place}: the disk is full ({error.strerror}); {advice}") from error
        raise


def why_no_file(path: Path) -> str:
    """What to say of a path that is no regular file."""
    return "is a folder, not a file" if path.is_dir() else "no such file"


def require_writable(path: Path, option: str, suffix: str) -> None:
    """Raise InputError, before any work is done, if a file of this kind cannot be written there."""
    if path.suffix != suffix or path.is_dir():
        raise InputError(f"{option} {path}: give a file name that ends in {suffix}")
    probe = hidden_beside(path, "probe")
    try:
        with atomic_write(probe):
            pass
        probe.unlink()
    except InputError as error:
        raise InputError(f"{option} {path}: nothing can be written there; choose another place") from error


@contextlib.contextmanager
def wait_for_lock(path: Path, waiting: str) -> Iterator[bool]:
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
def exclusive_lock(path: Path, refusal: str) -> Iterator[None]:
    """Raise InputError(refusal) if another process is in such a block; one that ends, however, is out of it.

    `path` is a lock file, made if need be and left there. Where the file system knows no locks, nobody is refused.
    """
    try:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "rb+")
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror or error}); remove it, or choose another folder") from error
    with file:
        if fcntl is not None:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock, not passed on to worker processes
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    raise InputError(refusal) from error
        yield


@contextlib.contextmanager
def atomic_write(path: Path, previous: Path | None = None) -> Iterator[Path]:
    """Gives a temporary name beside `path` (same suffix); renamed to `path` if the block succeeds, removed if it fails.

    The file is on the disk, not only on its way there, before it takes the name. What had the name until then is kept as
    `previous`, if given; at no time is there none. Raises InputError if the folder or the file cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_temporary_prefix(path), suffix=path.suffix)
        os.close(handle)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from error
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~umask())  # mkstemp's 0600 would lock out the people a run folder is shared with
        _on_disk(temporary)
        if previous is not None and path.exists():
            _give_second_name(path, previous)
        os.replace(temporary, path)
        with contextlib.suppress(OSError):  # a folder cannot be opened everywhere
            _on_disk(path.parent)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}); free space or choose another") from error
    finally:
        temporary.unlink(missing_ok=True)


def _temporary_prefix(path: Path) -> str:
    return f".{path.stem if len(os.fsencode(path.name)) <= LONG_NAME else _digest(path)}."


def umask() -> int:
    """What new files do not get: the rights that are masked."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def remove_unfinished(path: Path) -> None:
    """What processes that were killed while writing `path` left beside it; nobody else may be writing it now."""
    for left in path.parent.glob(f"{_temporary_prefix(path)}*{path.suffix}"):
        with contextlib.suppress(OSError):
            left.unlink()


def _on_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _give_second_name(path: Path, second: Path) -> None:
    link = hidden_beside(second, "link")
    try:
        link.unlink(missing_ok=True)
        os.link(path, link)
        os.replace(link, second)
        link.unlink(missing_ok=True)  # it stays if both were one file already
    except OSError:  # a file system without links
        os.replace(path, second)
