"""search.py index: an index of photos, made or brought up to date, by one process or by several that torchrun started."""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from photo_search.collecting import require_existing
from photo_search.config import IndexOptions, NetworkOptions, RunningOptions, StoreOptions
from photo_search.indexing import Changes, changes_of, embed
from photo_search.network import Network
from photo_search.networks import Facts, facts_of, network_of_rank, new_network, recorded_network
from photo_search.opening import computing_for
from photo_search.parts import merge_parts, new_parts, opened_part
from photo_search.planning import Plan, plan, remove, sources_of
from photo_search.ranks import Ranks, joined
from photo_search.shards import is_shard, remove_copies
from photo_search.store import Store
from photo_search.stores import has_store, make_store, open_store, remember
from utils.errors import InputError
from utils.files import exclusive_lock
from utils.ram import report_out_of_memory
from utils.text import counted, printable

SHOWN_FAULTS = 10
OUT_OF_MEMORY_HINT = "lower --batch_size, or --num_workers"
FILES_OF_EARLIER_VERSIONS = tuple(f"{name}.index{end}" for name in ("vectors", "codes") for end in ("", ".checksum"))


class _Task(NamedTuple):
    """What rank 0 tells a rank. share: what it embeds. parts: where each writes its part; None: all add photos to the store."""

    share: Plan
    facts: Facts
    parts: Path | None


def run(options: IndexOptions, place: StoreOptions, chosen: NetworkOptions, running: RunningOptions) -> None:
    """Make an index, or bring one up to date."""
    with report_out_of_memory(OUT_OF_MEMORY_HINT), joined(running.device) as ranks, contextlib.ExitStack() as held:
        indexer = _Indexer(options, place, chosen, running, ranks)
        task = ranks.scatter(lambda: indexer.begin(held))
        if task is not None:
            with contextlib.ExitStack() as opened:
                store = ranks.together(lambda: indexer.open(task, opened))
                own = indexer.embed(task.share, store)
            done = ranks.gather(own)
            ranks.from_main(lambda: indexer.finish(done))
        ranks.from_main(indexer.report)


class _Indexer:
    """One rank. Rank 0 has the store; the network is read when it is needed."""

    store: Store
    network: Network
    plan: Plan

    def __init__(self, options: IndexOptions, place: StoreOptions, chosen: NetworkOptions, running: RunningOptions, ranks: Ranks):
        self.options, self.place, self.chosen, self.running, self.ranks = options, place, chosen, running, ranks
        self.computing = computing_for(running, options.output)
        self.shard_faults: dict[str, str] = {}

    def begin(self, held: contextlib.ExitStack) -> Sequence[_Task | None]:
        """On rank 0: the tasks of all ranks; None if photos are only removed. `held` receives the lock of the index."""
        network = self._open_store()
        refusal = f"{self.options.output}: is being indexed already; wait for that to end"
        self.options.output.mkdir(parents=True, exist_ok=True)  # a server's index may be new to this machine
        held.enter_context(exclusive_lock(self.options.output / ".lock", refusal))
        held.enter_context(self.store.sole_run())
        merge_parts(self.store)
        remove_copies(self.options.output)
        if self.options.kind:
            self.store.keep_facts(kind=self.options.kind)
        if self.options.remove:
            removed = counted(remove(self.store, self.options.remove), "photo", "photos")
            print(f"removed {removed} from the index; the files stay on disk")
        sources = self.options.photos or ([] if self.options.remove else sources_of(self.store))
        if not sources:
            return [None] * self.ranks.world_size
        self.network = network or recorded_network(self.store, self.chosen, self.computing)
        if self.store.fact("network") is None:
            _print_network(self.network)
        self.store.belong_to(self.network)
        remember(self.store)
        self.plan = plan(self.store, sources)
        if self.plan.has_work:
            self.network.engine.start()  # converts the network, if that is necessary: not every rank needs to
        is_direct = self.store.is_shared or self.ranks.world_size == 1
        facts, parts = facts_of(self.store), None if is_direct else new_parts(self.options.output)
        world_size = self.ranks.world_size
        return [_Task(self.plan.share(rank, world_size), facts, parts) for rank in range(world_size)]

    def _open_store(self) -> Network | None:
        """The network, if one is named, is read first: one that cannot be read changes nothing."""
        folder, network = self.options.output, None
        if self.chosen.is_named and not has_store(folder, self.place):
            require_existing(Path(source) for source in self.options.photos if not is_shard(source))
            network = new_network(self.chosen, self.computing)
            self.store = make_store(folder, self.place)
            return network
        self.store = open_store(folder, self.place)
        return recorded_network(self.store, self.chosen, self.computing) if self.chosen.is_named else None

    def open(self, task: _Task, opened: contextlib.ExitStack) -> Store | None:
        """Read the network on this rank. Returns what its photos are added to (`opened` closes it), or None if it has none."""
        if not task.share.has_work:
            return None
        if not self.ranks.is_main:
            task.share.require_seen()
            self.network = network_of_rank(task.facts, self.chosen, self.computing)
        if task.parts is not None:
            return opened.enter_context(opened_part(task.parts, self.ranks.rank, task.facts))
        if self.ranks.is_main:
            return self.store
        store = open_store(self.options.output, self.place)
        remember(store)
        return store

    def embed(self, share: Plan, store: Store | None) -> Changes:
        """A rank that fails ends at once: what the others do meanwhile is in their parts."""
        workers = min(8, self.ranks.cores) if self.running.num_workers is None else self.running.num_workers
        return Changes() if store is None else embed(share, store, self.network, self.running.batch_size, workers)

    def finish(self, done: list[Changes]) -> None:
        """On rank 0: merge the parts, and print what was done."""
        merge_parts(self.store)
        changes = changes_of(self.plan, done)
        self.shard_faults = changes.shard_faults
        _print_changes(changes, self.store, self.network, self.ranks)

    def report(self) -> None:
        """On rank 0: build what a search needs, and print how it searches."""
        if len(self.store) == 0 and not self.options.remove and not self.shard_faults:
            raise InputError(f"{self.store.place}: no photo is in the index; name files or folders of photos")
        for codes in [False, True] if self.options.codes else [False]:
            print(self.store.prepare(codes))
        for name in FILES_OF_EARLIER_VERSIONS:
            (self.options.output / name).unlink(missing_ok=True)
        for fault in list(self.shard_faults.values())[1:SHOWN_FAULTS]:
            print(f"not indexed: {printable(fault)}", file=sys.stderr)
        if self.shard_faults:
            self._report_shards()

    def _report_shards(self) -> None:
        """torchrun takes every exit code but 0 as a failure of a process, and may start all of them again: there it is 0."""
        shards, first = counted(len(self.shard_faults), "shard", "shards"), next(iter(self.shard_faults.values()))
        line = f"{shards} not indexed (the first: {first}); what else was named is in the index"
        if self.ranks.world_size == 1:
            raise InputError(line)
        print(f"error: {printable(line)}", file=sys.stderr)


def _print_changes(changes: Changes, store: Store, network: Network, ranks: Ranks) -> None:
    processes = f" in {ranks.world_size} processes" if ranks.world_size > 1 else ""
    rate = f", {changes.added / changes.seconds:,.0f} photos/s by {network.engine}{processes}" if changes.added else ""
    added = counted(changes.added, "photo", "photos")
    print(f"{added} embedded, {changes.removed:,} gone; {len(store):,} in the index ({changes.seconds:.1f} s{rate})")
    _print_faults("cannot be read", store.unreadable())
    _print_faults("could not be read just now, and will be tried again", changes.postponed)
    for command, count in changes.unsupported.items():
        photos = counted(count, "HEIC or AVIF photo needs", "HEIC or AVIF photos need")
        print(f"{photos} a library that is missing or too old: {command}, then run this again")


def _print_network(network: Network) -> None:
    title = f"{network.untrained}, untrained" if network.untrained else network.weights
    known = f"; licence of its weights: {network.licence}" if network.licence else ""
    print(printable(f"network: {title}, at {network.side} px{known}"))


def _print_faults(what: str, faults: dict[str, str]) -> None:
    if faults:
        print(f"{counted(len(faults), 'photo', 'photos')} {what} (the first: {printable(next(iter(faults.values())))})")
