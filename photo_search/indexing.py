"""Bringing an index up to date with the photos on disk: only what is new or has changed is embedded."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from datasets.images import decode
from datasets.loading import Loading
from photo_search.collecting import Collected, collect, deepest, is_below, linked
from photo_search.encoder import Network
from photo_search.folder import IndexFolder
from photo_search.store import PhotoFile, Store
from utils.errors import InputError
from utils.progress import progress_bar


@dataclass(frozen=True)
class Changes:
    """How many photos were added (or had changed), removed, could not be read just now, and are of no kind read here; how many
    there are now."""

    added: int
    removed: int
    put_off: dict[str, str]
    not_read: int
    total: int


@dataclass(frozen=True)
class _Fault:
    """Why a photo could not be read; `passes`: not for what is in the file, so it may be readable another time."""

    reason: str
    passes: bool


class _Photos(Dataset):
    """Decoded photos, each its pixels or a fault."""

    def __init__(self, photos: Sequence[PhotoFile], side: int):
        self.photos, self.side = photos, side

    def __len__(self) -> int:
        return len(self.photos)

    def __getitems__(self, rows: list[int]) -> list[tuple[int, np.ndarray | _Fault]]:
        return [(row, self._decoded(self.photos[row].path)) for row in rows]

    def _decoded(self, path: str) -> np.ndarray | _Fault:
        try:
            return decode(path, self.side)
        except InputError as error:
            cause = error.__cause__
            of_the_machine = isinstance(cause, OSError) and cause.errno is not None  # Pillow's own have no number
            return _Fault(" ".join(str(error).split()), of_the_machine or isinstance(cause, (FileNotFoundError, MemoryError)))


def update(folder: IndexFolder, network: Network, roots: list[Path], batch_size: int, num_workers: int) -> Changes:
    """Photos below `roots` are added, or embedded anew where they changed; those that have gone from there are removed.

    Of what was named, the deepest place decides: a folder taken out by `remove` stays out until it is named itself. Each batch is
    kept as it is done, so a run that is cut short goes on. Raises InputError if a root cannot be read, or is empty where photos
    were: a drive may be away.
    """
    store = folder.store
    known, places = store.known(), [os.path.abspath(root) for root in roots]
    there = [root for root, place in zip(roots, places, strict=True) if root.exists() or place not in known]
    found = collect(there)
    _require_some(there, found, known)
    keep_linked_roots(store)
    every = {*store.fact("roots", []), *(os.path.abspath(root) for root in there)}
    left_out = set(store.fact("left_out", [])) - set(places)
    wanted = {path: photo for path, photo in found.photos.items() if deepest(path, every) >= deepest(path, left_out)}
    gone = [path for path in known if path not in wanted and is_below(path, places) and not is_below(path, found.unlisted)]
    new = [photo for path, photo in wanted.items() if known.get(path) != (photo.size, photo.changed)]
    if gone:
        store.remove(gone)
    store.keep_facts(roots=sorted(every - set(gone)), left_out=sorted(left_out))
    store.keep_links(found.links, [os.path.abspath(root) for root in there])
    added, put_off = 0, {}
    with progress_bar(len(new), "indexing photos", "img") as bar:
        for photos, vectors, faults in _embedded(new, network, batch_size, num_workers):
            store.put(photos, vectors, {photo: fault.reason for photo, fault in faults.items() if not fault.passes})
            put_off |= {photo.path: fault.reason for photo, fault in faults.items() if fault.passes}
            added += len(photos)
            bar.update(len(photos) + len(faults))
    return Changes(added, len(gone), put_off, found.not_read, len(store))


def remove(store: Store, places: list[Path]) -> int:
    """Take photos that are, or lie in, one of these out of the index, to stay out; how many. The files stay.

    Raises InputError, and removes nothing, if no photo of the index is in one of these.
    """
    absolute, known = [os.path.abspath(place) for place in places], store.known()
    for place in absolute:
        if not any(is_below(path, [place]) for path in known):
            raise InputError(f"--remove {place}: no photo of the index is, or lies in, that; nothing was removed")
    chosen = [path for path in known if is_below(path, absolute)]
    store.remove(chosen)
    roots = [root for root in store.fact("roots", []) if not is_below(root, absolute)]
    left_out = {*store.fact("left_out", []), *(place for place in absolute if is_below(place, roots))}
    store.keep_facts(roots=roots, left_out=sorted(left_out))
    return len(chosen)


def keep_linked_roots(store: Store) -> dict[str, str]:
    """{path: where it leads} of the places that were named to an earlier version, which did not keep it; later {}.

    Whoever named them meant what lies behind them. Of links among the photos themselves that cannot be said. Raises InputError if
    nothing can be written.
    """
    if store.keeps_links:
        return {}
    links = linked(store.fact("roots", []))
    if links:
        store.keep_links(links, [])
    return links


def _require_some(roots: list[Path], found: Collected, known: dict) -> None:
    for root in roots:
        place = [os.path.abspath(root)]
        lost = sum(is_below(path, place) for path in known)
        if lost and not any(is_below(path, place) for path in (*found.photos, *found.unlisted)):
            raise InputError(
                f"{root}: no photo is there, but {lost:,} were, and stay in the index; "
                f"is a drive away? If they have really gone: --remove {root}"
            )


def _embedded(
    photos: list[PhotoFile], network: Network, batch_size: int, num_workers: int
) -> Iterator[tuple[list[PhotoFile], np.ndarray, dict[PhotoFile, _Fault]]]:
    """Batch by batch: the photos that could be read, their vectors, and what is wrong with the others."""
    for batch in Loading(_Photos(photos, network.side), batch_size, num_workers) if photos else ():
        good = [(photos[row], pixels) for row, pixels in batch if not isinstance(pixels, _Fault)]
        faults = {photos[row]: pixels for row, pixels in batch if isinstance(pixels, _Fault)}
        vectors = np.zeros((0, network.width), np.float32)
        if good:
            vectors = network.embed_photos(np.stack([pixels for _, pixels in good]))
        yield [photo for photo, _ in good], vectors, faults
