"""Parts of an index: where several processes add photos to a store that one process writes, each writes its own part.

Rank 0 merges them at the end. Parts that an interrupted run left are merged by the next one.
"""

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from photo_search.folder_store import FILE, FolderStore
from photo_search.networks import Facts
from photo_search.store import PhotoFile, Store
from utils.errors import InputError

FOLDER = "parts"  # within an index
CLOSED = ".closed"  # ends the names of parts that are being merged
BLOCK = 5_000  # photos merged at once
GONE = ""  # in place of the reason why a photo cannot be read
SEEN_WITHIN = 5  # seconds until a network file system shows a folder that another machine has made


class Part(FolderStore):
    """What one rank does to the index."""

    def remove(self, photos: Iterable[PhotoFile]) -> None:
        """Record that these photos of the index are gone."""
        self.add([], _no_vectors(self), dict.fromkeys(photos, GONE))


def new_parts(folder: Path) -> Path:
    """A new folder for the parts of one run."""
    try:
        parts = folder / FOLDER / secrets.token_hex(8)
        parts.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{folder}: nothing can be written there ({error.strerror})") from error
    return parts


@contextlib.contextmanager
def opened_part(parts: Path, rank: int, facts: Facts) -> Iterator[Part]:
    """The part of one rank, closed at the end. Raises InputError if this machine does not see the folder."""
    if not _is_seen(parts):
        raise InputError(
            f"{parts}: a machine does not see this folder of rank 0; give -o a folder that all machines share, "
            "or a Milvus server by --store"
        )
    part = Part(parts / str(rank), make=True)
    with contextlib.closing(part.connection):
        part.keep_facts(width=facts.width, network=facts.fact("network"))
        yield part


def _is_seen(parts: Path) -> bool:
    for _ in range(SEEN_WITHIN):
        if parts.is_dir():
            return True
        time.sleep(1)
        with contextlib.suppress(OSError):
            os.listdir(parts.parent)  # a network file system looks again
    return parts.is_dir()


def merge_parts(store: Store) -> None:
    """Add the photos of all parts that lie in the index, and delete the parts. Interrupted, it may be repeated."""
    folder = store.folder / FOLDER
    _close(folder)
    for file in sorted(folder.glob(f"*/*/{FILE}")):
        _merge(file.parent, store)
        try:
            file.unlink()  # merged again, it would undo later changes
        except OSError as error:
            raise InputError(f"{file}: cannot be deleted ({error.strerror}); delete it: its photos are in the index") from error
    shutil.rmtree(folder, ignore_errors=True)


def _close(folder: Path) -> None:
    """Under another name no part can be changed by a process of an earlier run, should one be left: SQLite refuses to."""
    for parts in folder.glob("*"):
        if parts.suffix != CLOSED:
            parts.rename(parts.with_suffix(CLOSED))


def _merge(folder: Path, store: Store) -> None:
    with _faults_named(folder):
        part = Part(folder)
    with contextlib.closing(part.connection):
        if part.fact("network") != store.fact("network"):  # of an index that was deleted, but for its parts
            return
        for photos, vectors in _blocks(part):
            store.add(photos, vectors, {})
        faults = part.faults()
        store.add([], _no_vectors(store), {photo: reason for photo, reason in faults.items() if reason != GONE})
        store.remove([photo for photo, reason in faults.items() if reason == GONE])
        store.keep_shards(dict(part.shards()))


def _no_vectors(store: Store) -> np.ndarray:
    return np.empty((0, store.width), np.float32)


def _blocks(part: Part) -> Iterator[tuple[list[PhotoFile], np.ndarray]]:
    last = -1
    while True:
        with _faults_named(part.folder):
            ids, vectors = part.vectors(last, BLOCK)
            photos = part.photos_of(ids)
        if not len(ids):
            return
        yield [photos[id_] for id_ in ids.tolist()], vectors
        last = int(ids[-1])


@contextlib.contextmanager
def _faults_named(folder: Path) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"{folder}: cannot be read; delete this folder: its photos are then embedded again") from error
