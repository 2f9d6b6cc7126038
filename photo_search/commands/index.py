"""search.py index: an index of photos, made or brought up to date."""

from pathlib import Path

from photo_search import indexing
from photo_search.config import IndexOptions, NetworkOptions, RunningOptions
from photo_search.index import up_to_date
from photo_search.network import Network
from photo_search.networks import new_network, recorded_network
from photo_search.opening import computing_for
from photo_search.store import FILE, Store
from utils.cores import usable_cores
from utils.errors import InputError
from utils.files import exclusive_lock
from utils.ram import report_out_of_memory
from utils.text import counted, printable

OUT_OF_MEMORY_HINT = "lower --batch_size, or --num_workers"
RECALL_AT = 20
FILES_OF_EARLIER_VERSIONS = tuple(f"{name}.index{end}" for name in ("vectors", "codes") for end in ("", ".checksum"))


def run(options: IndexOptions, chosen: NetworkOptions, running: RunningOptions) -> None:
    """Make an index, or bring one up to date."""
    with report_out_of_memory(OUT_OF_MEMORY_HINT):
        store, network = _store_and_network(options, chosen, running)
        with exclusive_lock(options.output / ".lock", f"{options.output}: is being indexed already; wait for that to end"):
            _bring_up_to_date(store, network, options, chosen, running)


def _store_and_network(options: IndexOptions, chosen: NetworkOptions, running: RunningOptions) -> tuple[Store, Network | None]:
    """The network, if one is named, is read first: one that cannot be read changes nothing."""
    if chosen.is_named and not (options.output / FILE).is_file():
        network = new_network(chosen, computing_for(running, options.output))
        return Store(options.output, make=True), network
    store = Store(options.output)
    return store, recorded_network(store, chosen, computing_for(running, options.output)) if chosen.is_named else None


def _bring_up_to_date(
    store: Store, network: Network | None, options: IndexOptions, chosen: NetworkOptions, running: RunningOptions
) -> None:
    if options.kind:
        store.keep_facts(kind=options.kind)
    if options.remove:
        removed = counted(indexing.remove(store, options.remove), "photo", "photos")
        print(f"removed {removed} from the index; the files stay on disk")
    roots = options.photos or [Path(root) for root in store.fact("roots", []) if not options.remove]
    if roots:
        _update(store, network or recorded_network(store, chosen, computing_for(running, options.output)), roots, running)
    if len(store) == 0 and not options.remove:
        raise InputError(f"{store.folder}: no photo is in the index; name files or folders of photos")
    for codes in [False, True] if options.codes else [False]:
        print(_recall(store, codes))
    for name in FILES_OF_EARLIER_VERSIONS:
        (store.folder / name).unlink(missing_ok=True)


def _update(store: Store, network: Network, roots: list[Path], running: RunningOptions) -> None:
    if store.fact("network") is None:
        _print_network(network)
    store.belong_to(network)
    workers = min(8, usable_cores()) if running.num_workers is None else running.num_workers
    done = indexing.update(store, network, roots, running.batch_size, workers)
    rate = f", {done.added / done.seconds:,.0f} photos/s by {network.engine}" if done.added else ""
    added = counted(done.added, "photo", "photos")
    print(f"{added} embedded, {done.removed:,} gone; {len(store):,} in the index ({done.seconds:.1f} s{rate})")
    _print_faults("cannot be read", store.unreadable())
    _print_faults("could not be read just now, and will be tried again", done.postponed)
    for command, count in done.unsupported.items():
        photos = counted(count, "HEIC or AVIF photo needs", "HEIC or AVIF photos need")
        print(f"{photos} a library that is missing or too old: {command}, then run this again")


def _print_network(network: Network) -> None:
    title = f"{network.untrained}, untrained" if network.untrained else network.weights
    known = f"; licence of its weights: {network.licence}" if network.licence else ""
    print(printable(f"network: {title}, at {network.side} px{known}"))


def _print_faults(what: str, faults: dict[str, str]) -> None:
    if faults:
        print(f"{counted(len(faults), 'photo', 'photos')} {what} (the first: {printable(next(iter(faults.values())))})")


def _recall(store: Store, codes: bool) -> str:
    """What is fitted is fitted now. Returns how many of the truly most similar photos are found."""
    index = up_to_date(store, codes)
    if index is None:
        return "no photo is left in the index"
    if index.kind == "exact":
        return "searched exactly"
    how = f"codes of {index.bits} bits" if codes else f"searched by {index.kind}"
    share = index.recall_at(RECALL_AT, *store.vectors())
    return f"{how}: {share:.1%} of the {RECALL_AT} most similar photos are found"
