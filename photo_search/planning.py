"""What an update of an index has to do: which photos are new, changed or gone. Nothing is embedded yet."""

import itertools
import os
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

from photo_search.collecting import Collected, collect, deepest, holders, is_below
from photo_search.shards import ShardWork, expanded, is_shard, located, state_of
from photo_search.store import PhotoFile, ShardState, Store
from utils.errors import InputError
from utils.text import is_url, printable

EARLIER_REFUSAL = "HEIC and AVIF images are not read here"  # recorded by earlier versions
SEEN = 20


@dataclass(frozen=True)
class Plan:
    """Photos and shards to embed. removed: number of files that were gone, and are removed already.

    unsupported: {command that installs what reads them: number of HEIC or AVIF photos left as they were}. faults: {shard that
    cannot be read: why}.
    """

    photos: list[PhotoFile]
    shards: list[ShardWork]
    removed: int = 0
    unsupported: Counter[str] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)

    @property
    def has_work(self) -> bool:
        """Whether there is anything to embed."""
        return bool(self.photos or self.shards)

    def require_seen(self) -> None:
        """Raise InputError if none of the first photos, which rank 0 has just seen, is on this machine."""
        if self.photos and not any(photo.exists for photo in self.photos[:SEEN]):
            raise InputError(
                f"{self.photos[0].path}: a machine does not see this photo of rank 0; mount the same folders on all machines"
            )

    def share(self, rank: int, world_size: int) -> "Plan":
        """What one of `world_size` ranks embeds."""
        return replace(self, photos=self.photos[rank::world_size], shards=self.shards[rank::world_size])


@dataclass(frozen=True)
class _Sources:
    """patterns: {tar shards as they were named: the shards}. returning: {photo, or folder of photos, in a shard: the shard}."""

    roots: list[Path]
    patterns: dict[str, list[str]]
    returning: dict[str, str]

    @property
    def shards(self) -> list[str]:
        """All shards that are named, or of which photos are named."""
        return list(dict.fromkeys([*itertools.chain.from_iterable(self.patterns.values()), *self.returning.values()]))

    def named(self, left_out: set[str]) -> set[str]:
        """What was taken out of the index and is to be in it again. A pattern names its shards if all of them were taken out."""
        shards = (names for names in self.patterns.values() if left_out.issuperset(names))
        return {*map(located, map(str, self.roots)), *self.returning, *itertools.chain.from_iterable(shards)}


def plan(store: Store, sources: list[str]) -> Plan:
    """Remove the photos that are gone from the sources (files, folders, shards), and list the new and changed ones.

    What `remove` took out stays out until it is named itself. Raises InputError if a file or folder cannot be read, or each of
    the shards if nothing else is named, or a folder has no photo where there were some: a drive may be away.
    """
    chosen = _told_apart(store, sources)
    left_out = set(store.fact("left_out", []))
    left_out -= chosen.named(left_out)
    for place, shard in chosen.returning.items():
        if deepest(place, left_out) >= len(shard):
            raise InputError(f"{place}: the folder in the shard that holds it was removed from the index; name that folder")
    states, faults = _states([shard for shard in chosen.shards if shard not in left_out])
    if faults and not states and not chosen.roots:
        raise InputError(next(iter(faults.values())))
    files = _plan_files(store, chosen, left_out)
    work = _plan_shards(store, states, left_out, set(chosen.returning.values()))
    # last: until the shards are planned, the same command must find what it names among what was taken out
    store.keep_facts(left_out=sorted(left_out), shards=sorted({*store.fact("shards", []), *chosen.patterns}))
    return replace(files, shards=work, faults=faults)


def sources_of(store: Store) -> list[str]:
    """What was indexed before."""
    return [*store.fact("roots", []), *store.fact("shards", [])]


def remove(store: Store, places: list[str]) -> int:
    """Take the photos at or below these paths, or in these shards, out of the index, for good. Returns their number.

    Raises InputError, and removes nothing, if one of the places is, or holds, no indexed photo and no shard. Interrupted, it may
    be repeated.
    """
    absolute = {each for place in places for each in (expanded(place) if is_shard(place) else [located(place)])}
    patterns = {pattern: expanded(pattern) for pattern in store.fact("shards", [])}
    before = set(store.fact("left_out", []))
    photos = [photo for path, photo in store.known().items() if is_below(path, absolute)]
    touched = {holder for place in absolute for holder in holders(place)}
    forgotten = {shard: state for shard, state in store.shards().items() if is_below(shard, absolute)}
    for shard in store.shards():
        if shard in touched or shard in forgotten:
            photos += [photo for path, photo in store.known(shard).items() if is_below(path, absolute)]
    shards = {shard for names in patterns.values() for shard in names}
    interrupted = set(store.fact("removing", []))
    _require_present(absolute - interrupted, [*(photo.path for photo in photos), *forgotten, *(shards - before)])
    taken_out = before | {shard for shard in shards if is_below(shard, absolute)}
    roots = [root for root in store.fact("roots", []) if not is_below(root, absolute)]
    patterns = {name: names for name, names in patterns.items() if not taken_out.issuperset(names)}
    again = {*roots, *(shard for names in patterns.values() for shard in names)}
    left_out = (taken_out - (shards - again)) | {place for place in absolute if is_below(place, again)}
    store.keep_facts(roots=roots, shards=list(patterns), left_out=sorted(left_out), removing=sorted(absolute))
    store.keep_shards({shard: replace(state, is_done=False) for shard, state in forgotten.items()})
    store.remove(photos)
    store.keep_shards(dict.fromkeys(forgotten))
    store.keep_facts(removing=[])
    return len(photos)


def _require_present(places: set[str], paths: list[str]) -> None:
    present = {holder for path in paths for holder in holders(path) if holder in places}
    for place in sorted(places - present):
        raise InputError(f"--remove {place}: no photo of the index is, or lies in, that; nothing was removed")


def _told_apart(store: Store, sources: list[str]) -> _Sources:
    roots, shards = set(store.fact("roots", [])), store.shards()
    chosen = _Sources([], {}, {})
    for source in sources:
        place = located(source)
        shard = next((each for each in holders(place) if each in shards), place)
        if shard != place:
            chosen.returning[place] = shard
        elif is_shard(source) and place not in roots:  # a folder may be called photos.tar, and be away
            chosen.patterns[place] = expanded(source)
        else:
            chosen.roots.append(Path(source))
    return chosen


def _states(shards: list[str]) -> tuple[dict[str, ShardState], dict[str, str]]:
    """The states of shards, and {shard: why} of those that cannot be read."""
    states, faults = dict[str, ShardState](), dict[str, str]()
    for shard in shards:
        try:
            states[shard] = state_of(shard)
        except InputError as error:
            faults[shard] = str(error)
    return states, faults


def _plan_shards(store: Store, states: dict[str, ShardState], left_out: set[str], again: set[str]) -> list[ShardWork]:
    """The shards to read. again: read them though they are done."""
    recorded, out_of = store.shards(), defaultdict[str, set[str]](set)
    for path in left_out:
        for holder in holders(path):
            out_of[holder].add(path)
    work = []
    for shard, now in states.items():
        if shard in again or recorded.get(shard) != replace(now, is_done=True):
            known = store.known(shard).values() if shard in recorded else ()
            work.append(ShardWork(shard, frozenset(known), frozenset(out_of[shard])))
    links = {shard: real for shard in states if not is_url(shard) and (real := os.path.realpath(shard)) != shard}
    store.keep_links(links, [each.shard for each in work if not is_url(each.shard)])
    store.keep_shards({each.shard: states[each.shard] for each in work})
    return work


def _plan_files(store: Store, chosen: _Sources, left_out: set[str]) -> Plan:
    roots = chosen.roots
    known, places = store.known(), [os.path.abspath(root) for root in roots]
    existing = [root for root, place in zip(roots, places, strict=True) if root.exists() or place not in known]
    found = collect(existing)
    _require_some(existing, found, known)
    if found.tar_files:
        _print_tar_files(found.tar_files, {*chosen.shards, *left_out, *store.shards()})
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


def _print_tar_files(files: list[str], named: set[str]) -> None:
    unread = next((file for file in files if not is_below(file, named)), None)
    if unread is not None:
        pattern = printable(os.path.join(os.path.dirname(unread), "*.tar"))
        print(f"note: {printable(unread)}: tar files in a folder are not read; name them: {pattern}", file=sys.stderr)


def _require_some(roots: list[Path], found: Collected, known: dict[str, PhotoFile]) -> None:
    for root in roots:
        place = [os.path.abspath(root)]
        lost = sum(is_below(path, place) for path in known)
        if lost and not any(is_below(path, place) for path in (*found.photos, *found.unlisted)):
            raise InputError(
                f"{root}: no photo is there, but {lost:,} were, and stay in the index; "
                f"is a drive away? If they have really gone: --remove {root}"
            )
