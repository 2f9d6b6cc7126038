"""Parts of an index: where several processes add photos to a store that one process writes, each writes its own part.

Rank 0 merges them at the end. Parts that an interrupted run left are merged by the next one.
"""

import secrets
import shutil
from pathlib import Path

from photo_search.folder_store import FILE, FolderStore
from photo_search.store import Store
from utils.errors import InputError

FOLDER = "parts"  # within an index
BLOCK = 5_000  # photos merged at once


def new_parts(folder: Path) -> Path:
    """A new folder for the parts of one run."""
    try:
        parts = folder / FOLDER / secrets.token_hex(8)
        parts.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{folder}: nothing can be written there ({error.strerror})") from error
    return parts


def open_part(parts: Path, rank: int, width: int) -> FolderStore:
    """The part of one rank. Raises InputError if this machine does not see the folder."""
    if not parts.is_dir():
        raise InputError(
            f"{parts}: rank {rank} does not see this folder of rank 0; give -o a folder that all machines share, "
            "or a Milvus server by --store"
        )
    part = FolderStore(parts / str(rank), make=True)
    part.keep_facts(width=width)
    return part


def merge_parts(store: Store) -> None:
    """Add the photos of all parts that lie in the index, and delete the parts. Interrupted, it may be repeated."""
    folder = store.folder / FOLDER
    for file in sorted(folder.glob(f"*/*/{FILE}")):
        try:
            part = FolderStore(file.parent)
        except InputError as error:
            raise InputError(f"{error}; or delete {file.parent}: its photos are then embedded again") from error
        _merge(part, store)
        part.connection.close()
        shutil.rmtree(file.parent)
    if folder.exists():
        shutil.rmtree(folder)


def _merge(part: FolderStore, store: Store) -> None:
    ids, vectors = part.vectors(most=BLOCK)
    while len(ids):
        photos = part.photos_of(ids)
        store.add([photos[id_] for id_ in ids.tolist()], vectors, {})
        ids, vectors = part.vectors(int(ids[-1]), BLOCK)
    shards = part.shards()
    reasons = part.unreadable()
    known = [photo for shard in ("", *shards) for photo in part.known(shard).values()]
    store.add([], vectors, {photo: reasons[photo.path] for photo in known if photo.path in reasons})
    store.keep_shards(dict(shards))
