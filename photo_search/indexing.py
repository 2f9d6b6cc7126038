"""Bringing an index up to date with the photos on disk: only what is new or has changed is embedded."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader, Dataset

from datasets.image_files import whole
from datasets.images import decode
from photo_search.collecting import collect, is_below
from photo_search.embedding import Network
from photo_search.folder import IndexFolder
from photo_search.store import PhotoFile, Store
from utils.errors import InputError
from utils.progress import progress_bar
from utils.signals import leave_signals_to_main_process


@dataclass(frozen=True)
class Changes:
    """How many photos were added (or had changed), removed, and could not be read; how many there are now."""

    added: int
    removed: int
    unreadable: int
    total: int


class _Photos(Dataset):
    """Decoded photos, each its pixels or a message."""

    def __init__(self, photos: Sequence[PhotoFile], side: int):
        self.photos, self.side = photos, side

    def __len__(self) -> int:
        return len(self.photos)

    def __getitems__(self, rows: list[int]) -> list[tuple[int, np.ndarray | str]]:
        return [(row, self._decoded(self.photos[row].path)) for row in rows]

    def _decoded(self, path: str) -> np.ndarray | str:
        try:
            return decode(path, self.side)
        except InputError as error:
            return " ".join(str(error).split())


def update(folder: IndexFolder, network: Network, roots: list[Path], batch_size: int, num_workers: int) -> Changes:
    """Photos below `roots` are added, or embedded anew where they changed; those that have gone from there are removed.

    Each batch is kept as it is done, so a run that is cut short goes on. Raises InputError if a root cannot be read.
    """
    store = folder.store
    found, known = collect(roots), store.known()
    places = [os.path.abspath(root) for root in roots]
    gone = [path for path in known if path not in found and is_below(path, places)]
    new = [photo for path, photo in found.items() if known.get(path) != (photo.size, photo.changed)]
    if gone:
        store.remove(gone)
    store.keep_facts(roots=sorted({*store.fact("roots", []), *places}))
    faults = 0
    with progress_bar(len(new), "indexing photos", "img") as bar:
        for photos, vectors, unreadable in _embedded(new, network, batch_size, num_workers):
            store.put(photos, vectors, unreadable)
            faults += len(unreadable)
            bar.update(len(photos) + len(unreadable))
    return Changes(len(new) - faults, len(gone), faults, len(store))


def remove(store: Store, places: list[Path]) -> int:
    """Take photos that are, or lie in, one of these out of the index; how many. The files stay."""
    absolute = [os.path.abspath(place) for place in places]
    chosen = [path for path in store.known() if is_below(path, absolute)]
    if chosen:
        store.remove(chosen)
    store.keep_facts(roots=[root for root in store.fact("roots", []) if not is_below(root, absolute)])
    return len(chosen)


def _embedded(
    photos: list[PhotoFile], network: Network, batch_size: int, num_workers: int
) -> Iterator[tuple[list[PhotoFile], np.ndarray, dict[PhotoFile, str]]]:
    """Batch by batch: the photos that could be read, their vectors, and what is wrong with the others."""
    loader = DataLoader(
        _Photos(photos, network.side),
        batch_size,
        num_workers=num_workers,
        collate_fn=whole,
        worker_init_fn=leave_signals_to_main_process,
    )
    for batch in loader if photos else ():
        good = [(photos[row], pixels) for row, pixels in batch if not isinstance(pixels, str)]
        faults = {photos[row]: pixels for row, pixels in batch if isinstance(pixels, str)}
        vectors = np.zeros((0, network.width), np.float32)
        if good:
            vectors = network.embed_photos(np.stack([pixels for _, pixels in good]))
        yield [photo for photo, _ in good], vectors, faults
