"""Bringing an index up to date with the photos on disk: only new and changed photos are embedded."""

import functools
import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.images import Fit, MissingReader, decode
from datasets.loading import map_in_workers
from photo_search.collecting import Collected, collect, deepest, is_below
from photo_search.network import Network
from photo_search.store import PhotoFile, Store
from utils.errors import InputError

EARLIER_REFUSAL = "HEIC and AVIF images are not read here"  # recorded by earlier versions


@dataclass(frozen=True)
class Changes:
    """Numbers of photos added (new or changed) and removed; seconds of embedding; postponed: {path: reason}.

    unsupported: {command that installs what reads them: number of HEIC or AVIF photos left as they were}.
    """

    added: int
    removed: int
    seconds: float
    postponed: dict[str, str]
    unsupported: Counter[str]


@dataclass(frozen=True)
class _Fault:
    """Why a photo cannot be read. `may_pass`: the reason is not in the file, so the photo may be readable another time."""

    reason: str
    may_pass: bool


def _decoded(photo: PhotoFile, side: int, fit: Fit | None) -> tuple[PhotoFile, np.ndarray | _Fault]:
    """The photo with its pixels (side, side, 3) uint8, or with what is wrong with it."""
    try:
        return photo, decode(photo.path, side, fit)
    except InputError as error:
        cause = error.__cause__
        from_system = isinstance(cause, OSError) and cause.errno is not None  # Pillow's own errors have no number
        may_pass = from_system or isinstance(cause, (FileNotFoundError, MemoryError, MissingReader))
        return photo, _Fault(" ".join(str(error).split()), may_pass)


def update(store: Store, network: Network, roots: list[Path], batch_size: int, num_workers: int) -> Changes:
    """Add new photos below `roots`, embed changed ones again, and remove those that are gone from there.

    A folder that `remove` took out stays out until it is named itself. Each batch is committed, so an interrupted run loses
    nothing. Raises InputError if a root cannot be read, or has no photo where there were some: a drive may be away.
    """
    known, places = store.known(), [os.path.abspath(root) for root in roots]
    existing = [root for root, place in zip(roots, places, strict=True) if root.exists() or place not in known]
    found = collect(existing)
    _require_some(existing, found, known)
    indexed_roots = {*store.fact("roots", []), *map(os.path.abspath, existing)}
    left_out = set(store.fact("left_out", [])) - set(places)
    wanted = {path: photo for path, photo in found.photos.items() if deepest(path, indexed_roots) >= deepest(path, left_out)}
    gone = [path for path in known if path not in wanted and is_below(path, places) and not is_below(path, found.unlisted)]
    if gone:
        store.remove(gone)
    store.keep_facts(roots=sorted(indexed_roots - set(gone)), left_out=sorted(left_out))
    store.keep_links(found.links, map(os.path.abspath, existing))
    again = {path for path, reason in store.unreadable().items() if EARLIER_REFUSAL in reason}
    changed = (path for path, photo in wanted.items() if path in again or known.get(path) != (photo.size, photo.changed))
    new = [wanted[path] for path in changed if path not in found.unsupported]
    if new:
        network.engine.start()
    started = time.perf_counter()
    added, postponed = _embed(new, store, network, batch_size, num_workers)
    return Changes(added, len(gone), time.perf_counter() - started, postponed, Counter(found.unsupported.values()))


def remove(store: Store, places: list[Path]) -> int:
    """Take the photos at or below these paths out of the index, for good. Returns their number; the files stay.

    Raises InputError, and removes nothing, if one of the paths has no indexed photo.
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


def _require_some(roots: list[Path], found: Collected, known: dict[str, tuple[int, int]]) -> None:
    for root in roots:
        place = [os.path.abspath(root)]
        lost = sum(is_below(path, place) for path in known)
        if lost and not any(is_below(path, place) for path in (*found.photos, *found.unlisted)):
            raise InputError(
                f"{root}: no photo is there, but {lost:,} were, and stay in the index; "
                f"is a drive away? If they have really gone: --remove {root}"
            )


def _embed(
    photos: list[PhotoFile], store: Store, network: Network, batch_size: int, num_workers: int
) -> tuple[int, dict[str, str]]:
    """Store the photos batch by batch. Returns how many were readable, and {path: reason} of those to be tried again."""
    added, postponed = 0, dict[str, str]()
    decoded = functools.partial(_decoded, side=network.side, fit=network.fit)
    for batch in map_in_workers(decoded, photos, batch_size, num_workers, "indexing photos"):
        faults = {photo: content for photo, content in batch if isinstance(content, _Fault)}
        readable = [photo for photo, _ in batch if photo not in faults]
        pixels = [content for photo, content in batch if photo not in faults]
        vectors = network.embed_photos(np.stack(pixels)) if pixels else np.zeros((0, network.width), np.float32)
        store.put(readable, vectors, {photo: fault.reason for photo, fault in faults.items() if not fault.may_pass})
        postponed |= {photo.path: fault.reason for photo, fault in faults.items() if fault.may_pass}
        added += len(readable)
    return added, postponed
