"""What an update of an index has to do: which photos are new, changed or gone. Nothing is embedded yet."""

import os
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from photo_search.collecting import Collected, collect, deepest, is_below
from photo_search.shards import ShardWork, expanded, is_shard, located, state_of
from photo_search.store import PhotoFile, Store
from utils.errors import InputError

EARLIER_REFUSAL = "HEIC and AVIF images are not read here"  # recorded by earlier versions
SEEN = 20


@dataclass(frozen=True)
class Plan:
    """Photos and shards to embed. removed: number of photos that were gone, and are removed already.

    unsupported: {command that installs what reads them: number of HEIC or AVIF photos left as they were}.
    """

    photos: list[PhotoFile]
    shards: list[ShardWork]
    removed: int = 0
    unsupported: Counter[str] = field(default_factory=Counter)

    @property
    def has_work(self) -> bool:
        """Whether there is anything to embed."""
        return bool(self.photos or self.shards)

    def require_seen(self, rank: int) -> None:
        """Raise InputError if none of the first photos, which rank 0 has just seen, is on this rank's machine."""
        if self.photos and not any(photo.exists for photo in self.photos[:SEEN]):
            raise InputError(
                f"{self.photos[0].path}: rank {rank} does not see this photo of rank 0; mount the same folders on all machines"
            )

    def share(self, rank: int, world_size: int) -> "Plan":
        """What one of `world_size` ranks embeds."""
        return replace(self, photos=self.photos[rank::world_size], shards=self.shards[rank::world_size])


def plan(store: Store, sources: list[str]) -> Plan:
    """Remove the photos that are gone from the sources (files, folders, shards), and list the new and changed ones.

    A folder or shard that `remove` took out stays out until it is named itself. Raises InputError if a source cannot be read, or
    a folder has no photo where there were some: a drive may be away.
    """
    shards = list(dict.fromkeys(shard for source in sources if is_shard(source) for shard in expanded(source)))
    roots = [Path(source) for source in sources if not is_shard(source)]
    named = {*map(located, sources), *shards}
    states = {shard: state_of(shard) for shard in shards}  # first: a missing one changes nothing
    files = _plan_files(store, roots, set(store.fact("left_out", [])) - named)
    left_out = sorted(set(store.fact("left_out", [])) - named)
    patterns = sorted({*store.fact("shards", []), *(located(source) for source in sources if is_shard(source))})
    store.keep_facts(left_out=left_out, shards=patterns)
    work, removed = [], files.removed
    known_states = store.shards()
    for shard in shards:
        state, now = known_states.get(shard), states[shard]
        if is_below(shard, left_out) or state == replace(now, is_done=True):
            continue
        known = store.known(shard) if state else {}
        if state and (state.size, state.changed) != (now.size, now.changed):
            store.remove(known.values())
            removed, known = removed + len(known), {}
        work.append(ShardWork(shard, frozenset([*known, *(path for path in left_out if is_below(path, [shard]))])))
    store.keep_shards({each.shard: states[each.shard] for each in work})
    return replace(files, shards=work, removed=removed)


def sources_of(store: Store) -> list[str]:
    """What was indexed before."""
    return [*store.fact("roots", []), *store.fact("shards", [])]


def remove(store: Store, places: list[str]) -> int:
    """Take the photos at or below these paths, or in these shards, out of the index, for good. Returns their number.

    Raises InputError, and removes nothing, if one of the places has no indexed photo.
    """
    absolute = [each for place in places for each in (expanded(place) if is_shard(place) else [located(place)])]
    photos, forgotten = [photo for path, photo in store.known().items() if is_below(path, absolute)], []
    for shard in store.shards():
        if is_below(shard, absolute):
            forgotten.append(shard)
            photos += store.known(shard).values()
        elif any(is_below(place, [shard]) for place in absolute):
            photos += [photo for path, photo in store.known(shard).items() if is_below(path, absolute)]
    for place in absolute:
        if not any(is_below(photo.path, [place]) for photo in photos):
            raise InputError(f"--remove {place}: no photo of the index is, or lies in, that; nothing was removed")
    store.remove(photos)
    store.keep_shards(dict.fromkeys(forgotten))
    roots = [root for root in store.fact("roots", []) if not is_below(root, absolute)]
    patterns = [pattern for pattern in store.fact("shards", []) if not is_below(pattern, absolute)]
    again = [*roots, *(shard for pattern in patterns for shard in expanded(pattern))]
    left_out = {*store.fact("left_out", []), *(place for place in absolute if is_below(place, again))}
    store.keep_facts(roots=roots, shards=patterns, left_out=sorted(left_out))
    return len(photos)


def _plan_files(store: Store, roots: list[Path], left_out: set[str]) -> Plan:
    known, places = store.known(), [os.path.abspath(root) for root in roots]
    existing = [root for root, place in zip(roots, places, strict=True) if root.exists() or place not in known]
    found = collect(existing)
    _require_some(existing, found, known)
    indexed_roots = {*store.fact("roots", []), *map(os.path.abspath, existing)}
    wanted = {path: photo for path, photo in found.photos.items() if deepest(path, indexed_roots) >= deepest(path, left_out)}
    gone = [path for path in known if path not in wanted and is_below(path, places) and not is_below(path, found.unlisted)]
    if gone:
        store.remove(known[path] for path in gone)
    store.keep_facts(roots=sorted(indexed_roots - set(gone)))
    store.keep_links(found.links, map(os.path.abspath, existing))
    again = {path for path, reason in store.unreadable().items() if EARLIER_REFUSAL in reason}
    changed = (path for path, photo in wanted.items() if path in again or known.get(path) != photo)
    new = [wanted[path] for path in changed if path not in found.unsupported]
    return Plan(new, [], len(gone), Counter(found.unsupported.values()))


def _require_some(roots: list[Path], found: Collected, known: dict[str, PhotoFile]) -> None:
    for root in roots:
        place = [os.path.abspath(root)]
        lost = sum(is_below(path, place) for path in known)
        if lost and not any(is_below(path, place) for path in (*found.photos, *found.unlisted)):
            raise InputError(
                f"{root}: no photo is there, but {lost:,} were, and stay in the index; "
                f"is a drive away? If they have really gone: --remove {root}"
            )
