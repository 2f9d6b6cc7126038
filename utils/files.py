"""Atomic writes, locks between processes, and what to say about files that cannot be used."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from utils.errors import InputError, is_disk_full

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def hidden_beside(path: Path, purpose: str) -> Path:
    """`.<digest>.<purpose>` in the folder of `path`; the digest depends on the name alone and is short for any name."""
    digest = hashlib.blake2b(os.fsencode(path.name), digest_size=8).hexdigest()
    return path.with_name(f".{digest}.{purpose}")


@contextlib.contextmanager
def report_full_disk(place: Path, advice: str) -> Iterator[None]:
    """Raise InputError with `place`, where the block writes, and `advice` if the disk is full or the quota used up."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise InputError(f"{place}: the disk is full ({error.strerror}); {advice}") from error
        raise


def why_no_file(path: Path) -> str:
    """What to say about a path that is no regular file."""
    return "is a folder, not a file" if path.is_dir() else "no such file"


def require_writable(path: Path, option: str, suffix: str) -> None:
    """Raise InputError, before any work is done, if `option` names no file ending in `suffix` or one that cannot be written."""
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
def exclusive_lock(path: Path, refusal: str) -> Iterator[None]:
    """Raise InputError(refusal) if another process holds the lock; the system releases it however a process ends.

    path: a lock file, created if missing and left there. On a file system without locks nobody is refused.
    """
    try:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "rb+")
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror or error}); remove it, or choose another folder") from error
    with file:
        if fcntl is not None:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock, not inherited by worker processes
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    raise InputError(refusal) from error
        yield


@contextlib.contextmanager
def atomic_write(path: Path, previous: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffix), renamed to `path` if the block succeeds and removed if it fails.

    The file is synced to disk before it is renamed. A file that exists at `path` is kept as `previous`, if given; `path` exists
    at all times. Raises InputError if the folder or the file cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=hidden_beside(path, "").name, suffix=path.suffix)
        os.close(handle)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from error
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~umask())  # mkstemp's 0600 would keep other members of a shared folder from reading it
        _sync(temporary)
        if previous is not None and path.exists():
            _keep_as(previous, path)
        os.replace(temporary, path)
        with contextlib.suppress(OSError):  # some systems cannot open a folder
            _sync(path.parent)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}); free space or choose another") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, renamed to `path` if the block succeeds and removed if it fails.

    A folder at `path` is replaced, and stays if that fails. Raises InputError if nothing can be written there.
    """
    path = Path(os.path.abspath(path))
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=hidden_beside(path, "").name))
        yield temporary
        for file in temporary.iterdir():
            _sync(file)
        temporary.chmod(0o777 & ~umask())
        _replace_folder(path, temporary)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}); free space or choose another") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def read_json(path: Path, largest: int) -> Any:
    """The content of a JSON file of at most `largest` bytes. Raises OSError, or ValueError if it is larger or no JSON."""
    with path.open("rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise ValueError("too large")
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def umask() -> int:
    """The permission bits that new files do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def remove_unfinished(path: Path) -> None:
    """Remove what killed processes left of `atomic_write` with `path` as file or as `previous`; nobody may be writing it now."""
    for left in path.parent.glob(hidden_beside(path, "*").name):
        with contextlib.suppress(OSError):
            left.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace_folder(path: Path, new: Path) -> None:
    """Rename `new` to `path`. A folder that was there is removed after that, or put back if it fails."""
    aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=hidden_beside(path, "").name))
    earlier = aside / path.name
    try:
        if path.exists():
            os.replace(path, earlier)
        os.replace(new, path)
    finally:
        if earlier.exists() and not path.exists():
            os.replace(earlier, path)
        shutil.rmtree(aside, ignore_errors=True)  # not reached if it could not be put back


def _keep_as(previous: Path, path: Path) -> None:
    """Make `previous` a hard link to `path`, replacing what it was, so that `path` itself never disappears."""
    link = hidden_beside(previous, "link")
    try:
        link.unlink(missing_ok=True)
        os.link(path, link)
        os.replace(link, previous)
        link.unlink(missing_ok=True)  # rename leaves it if both were the same file already
    except OSError:  # a file system without links
        os.replace(path, previous)
