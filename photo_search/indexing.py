"""Bringing an index up to date with the photos: only new and changed ones are embedded."""

import functools
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from datasets.images import Fit, MissingReader, decode
from datasets.loading import map_batches
from photo_search.network import Network
from photo_search.planning import Plan, plan
from photo_search.shards import OpenedShard, ShardReader, copies_of
from photo_search.store import PhotoFile, Store
from photo_search.tar_photos import read_member
from utils.errors import InputError
from utils.progress import progress_bar


@dataclass
class Changes:
    """Numbers of photos added (new or changed) and removed; seconds of embedding. postponed: {path: reason} of photos to be tried
    again; shard_faults: {shard: reason}.

    unsupported: {command that installs what reads them: number of HEIC or AVIF photos left as they were}.
    """

    added: int = 0
    removed: int = 0
    seconds: float = 0.0
    postponed: dict[str, str] = field(default_factory=dict)
    unsupported: Counter[str] = field(default_factory=Counter)
    shard_faults: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Fault:
    """Why a photo cannot be read. `may_pass`: the reason is not in the file, so the photo may be readable another time."""

    reason: str
    may_pass: bool


class _Item(NamedTuple):
    """A photo; file: the local file that holds its shard, if it is in one."""

    photo: PhotoFile
    file: str = ""


class _End(NamedTuple):
    """Follows the last photo of a shard."""

    shard: str


def update(store: Store, network: Network, sources: list[str], batch_size: int, num_workers: int) -> Changes:
    """Embed new and changed photos, and remove those that are gone. Raises InputError as `plan` does."""
    work = plan(store, sources)
    return changes_of(work, [embed(work, store, network, batch_size, num_workers)])


def changes_of(work: Plan, parts: list[Changes]) -> Changes:
    """What a plan and the ranks have done; parts: what each rank did."""
    postponed = {path: reason for part in parts for path, reason in part.postponed.items()}
    faults = work.faults | {shard: reason for part in parts for shard, reason in part.shard_faults.items()}
    unsupported = sum((part.unsupported for part in parts), work.unsupported)
    seconds = max(part.seconds for part in parts)
    removed = work.removed + sum(part.removed for part in parts)
    return Changes(sum(part.added for part in parts), removed, seconds, postponed, unsupported, faults)


def embed(work: Plan, store: Store, network: Network, batch_size: int, num_workers: int) -> Changes:
    """Embed photos and store them batch by batch, so an interrupted run loses little."""
    done = Changes()
    if not work.has_work:
        return done
    network.engine.start()
    started = time.perf_counter()
    decoded = functools.partial(_decoded, side=network.side, fit=network.fit)
    copies = copies_of(store.folder, os.environ.get("RANK", "0"))
    with progress_bar(len(work.photos), "indexing photos", "img") as bar, ShardReader(work.shards, copies) as shards:
        batches = _Batches(work.photos, shards, batch_size, bar, done)
        for batch in map_batches(decoded, batches, num_workers):
            if photos := [each for each in batch if isinstance(each[0], _Item)]:
                _store(photos, store, network, done)
            for shard in (item.shard for item, _ in batch if isinstance(item, _End)):
                _finish(batches.opened.pop(shard), store, done)
            bar.update(sum(isinstance(item, _Item) for item, _ in batch))
    done.seconds = time.perf_counter() - started
    return done


def _store(batch: list[tuple[_Item, "np.ndarray | _Fault"]], store: Store, network: Network, done: Changes) -> None:
    faults = {item.photo: content for item, content in batch if isinstance(content, _Fault)}
    readable = [item.photo for item, content in batch if not isinstance(content, _Fault)]
    pixels = [content for _, content in batch if not isinstance(content, _Fault)]
    vectors = network.embed_photos(np.stack(pixels)) if pixels else np.zeros((0, network.width), np.float32)
    store.add(readable, vectors, {photo: fault.reason for photo, fault in faults.items() if not fault.may_pass})
    done.postponed |= {photo.path: fault.reason for photo, fault in faults.items() if fault.may_pass}
    done.added += len(readable)


def _finish(opened: OpenedShard, store: Store, done: Changes) -> None:
    """A shard with a photo that could not be read just now, or not here, is opened again the next time."""
    if opened.stale:
        store.remove(opened.stale)
        done.removed += len(opened.stale)
    if not opened.unsupported and not any(photo.path in done.postponed for photo in opened.photos):
        store.keep_shards({opened.shard: replace(opened.state, is_done=True)})
    opened.close()


class _Batches:
    """Batches of photos, then of each shard's photos, which the bar's total grows by. done: receives the faults of shards.

    Empty ones while a shard is on its way.
    """

    def __init__(self, photos: list[PhotoFile], shards: ShardReader, size: int, bar: tqdm, done: Changes):
        self.photos, self.shards, self.size, self.bar, self.done = photos, shards, size, bar, done
        self.opened = dict[str, OpenedShard]()

    def __iter__(self) -> Iterator[list[_Item | _End]]:
        yield from self._cut([_Item(photo) for photo in self.photos])
        for opened in self.shards:
            if opened is None:
                yield []
            elif opened.fault is not None:
                self.done.shard_faults[opened.shard] = opened.fault
            else:
                self.opened[opened.shard] = opened
                self.done.unsupported.update(opened.unsupported)
                self.bar.total += len(opened.photos)
                yield from self._cut([*(_Item(photo, opened.file) for photo in opened.photos), _End(opened.shard)])

    def _cut(self, items: list) -> Iterator[list[_Item | _End]]:
        return (items[start : start + self.size] for start in range(0, len(items), self.size))


def _decoded(item: _Item | _End, side: int, fit: Fit | None) -> tuple[_Item | _End, "np.ndarray | _Fault | None"]:
    """The item with its pixels (side, side, 3) uint8, or with what is wrong with it."""
    if isinstance(item, _End):
        return item, None
    try:
        return item, decode(read_member(item.photo, item.file) if item.file else item.photo.path, side, fit)
    except (InputError, OSError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        from_system = isinstance(cause, OSError) and cause.errno is not None  # Pillow's own errors have no number
        may_pass = from_system or isinstance(cause, (FileNotFoundError, MemoryError, MissingReader))
        return item, _Fault(" ".join(str(error).split()), may_pass)
