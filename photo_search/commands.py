"""The commands of search.py and their options."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from PIL import Image

from datasets.images import opened
from photo_search import indexing
from photo_search.encoder import Network
from photo_search.index import up_to_date
from photo_search.networks import NetworkOptions, initial_weights, new_network, recorded_network
from photo_search.pictures import save_grid
from photo_search.searching import Hit, Searcher, at_least
from photo_search.store import FILE, Store
from utils.devices import resolve_workers
from utils.errors import InputError
from utils.files import exclusive_lock, require_writable
from utils.options import operand, option, parse
from utils.parser import Parser, path_argument, port, positive_int, real_number, whole_number, worker_count
from utils.ram import report_out_of_memory
from utils.text import counted, printable

OUT_OF_MEMORY_HINT = "lower --batch_size, or --num_workers"
RECALL_AT = 20
MOST_FOUND = 10_000  # photos for one drawing
FILES_OF_EARLIER_VERSIONS = tuple(f"{name}.index{end}" for name in ("vectors", "codes") for end in ("", ".checksum"))


def auth(text: str) -> str:
    user, _, password = text.partition(":")
    if not user or not password:
        raise argparse.ArgumentTypeError("must be USER:PASSWORD")
    return text


@dataclass(frozen=True)
class IndexOptions:
    title: ClassVar[str] = "index"
    photos: list[Path] = operand(type=path_argument, nargs="*", help="files or folders; none: those indexed before")
    output: Path = option(None, "-o", type=path_argument, required=True, help="folder of the index")
    remove: list[Path] | None = option(None, type=path_argument, nargs="+", help="remove these files or folders from the index")
    kind: str | None = option(
        None,
        choices=("auto", "exact", "ivf"),
        help="auto: exact up to 12.8 million numbers (200,000 vectors of 64), else ivf; kept for later updates",
    )
    codes: bool = option(False, help="also fit hash codes, for query --codes")


@dataclass(frozen=True)
class RunningOptions:
    title: ClassVar[str] = "running"
    device: str = option("auto", help="auto, cpu, cuda, cuda:1, …")
    batch_size: int = option(64, type=positive_int, help="photos per batch")
    num_workers: int | None = option(
        None, type=worker_count, help="worker processes that decode images; default: up to 8, or 1 on a CPU"
    )


@dataclass(frozen=True, kw_only=True)
class Opened:
    index: Path = option(None, type=path_argument, required=True, help="folder that `search.py index` made")
    checkpoint: Path | None = option(None, type=path_argument, help="trained network, if it is no longer where it was")
    pretrained_weights: str | None = option(
        None, type=initial_weights, help="weights of an untrained network, if they are no longer where they were"
    )
    device: str = option("auto", help="auto, cpu, cuda, cuda:1, …")


@dataclass(frozen=True, kw_only=True)
class QueryOptions(Opened):
    title: ClassVar[str] = "query"
    sketches: list[str] = operand(nargs="+", metavar="SKETCH", help="images of drawings, in any size")
    k: int = option(20, "-k", type=whole_number(1, MOST_FOUND), help=f"number of photos to find, 1 to {MOST_FOUND:,}")
    least: float | None = option(
        None,
        type=real_number(-1, 1),
        metavar="SIMILARITY",
        help="hide photos whose cosine similarity (with --codes its estimate) is below this, -1 to 1; default: none",
    )
    all: bool = option(False, help="list near-duplicates one by one; otherwise those of one photo count as one")
    codes: bool = option(False, help="search by hash codes instead of embeddings")
    photo: bool = option(False, help="the queries are photos, not drawings")
    json: bool = option(False, help="print results as JSON")
    grid: Path | None = option(None, type=path_argument, help="write a picture of the queries and their photos to this .png")


@dataclass(frozen=True, kw_only=True)
class ServeOptions(Opened):
    title: ClassVar[str] = "serve"
    host: str = option("127.0.0.1", help="address to listen on; 0.0.0.0 lets other machines in: add --auth")
    port: int = option(7860, type=port, help="port to listen on; 0: any that is free")
    auth: str | None = option(None, type=auth, metavar="USER:PASSWORD", help="required from every visitor")


def run(arguments: list[str]) -> None:
    """Run the command that the first word names; a mistake exits with code 2 after one line."""
    commands: dict[str, tuple[Callable[..., None], str, str, list[type]]] = {
        "index": (
            index,
            "Index photos, or update an index.",
            "PHOTOS… --arch timm/NAME -o INDEX",
            [IndexOptions, NetworkOptions, RunningOptions],
        ),
        "query": (query, "Find the photos that are most similar to a drawing.", "SKETCH… --index INDEX", [QueryOptions]),
        "serve": (serve, "Serve a page on which photos are found by drawing.", "--index INDEX", [ServeOptions]),
    }
    if arguments and arguments[0] in commands:
        work, description, operands, kinds = commands[arguments[0]]
        parser = Parser(description, operands)
        parser.prog += f" {arguments[0]}"
        work(*parse(parser, kinds, arguments[1:]))
    else:
        parser = Parser("Find photos by drawing: index folders of photos, then search them.", "{index,query,serve} …")
        parser.add_argument("command", choices=tuple(commands), help="each has its own options: search.py index --help")
        parser.parse_args(arguments[:1])


def index(options: IndexOptions, chosen: NetworkOptions, running: RunningOptions) -> None:
    """Make an index, or bring one up to date."""
    with report_out_of_memory(OUT_OF_MEMORY_HINT):
        store, network = _store_and_network(options, chosen, running)
        with exclusive_lock(options.output / ".lock", f"{options.output}: is being indexed already; wait for that to end"):
            _bring_up_to_date(store, network, options, chosen, running)


def query(options: QueryOptions) -> None:
    """Print the photos that are most similar to each query."""
    if options.grid and not options.grid.parent.is_dir():
        raise InputError(f"--grid {options.grid}: there is no folder {options.grid.parent}; make it, or choose another place")
    if options.grid:
        require_writable(options.grid, "--grid", ".png")
    searcher = _searcher(options)
    if len(searcher.store) == 0:
        advice = f"add some by `python search.py index PHOTOS -o {options.index}`"
        raise InputError(f"{options.index}: no photo is in the index; {advice}")
    drawings = [opened(path) for path in options.sketches]
    results = [_hits(searcher, path, drawing, options) for path, drawing in zip(options.sketches, drawings, strict=True)]
    similar = results if options.least is None else [at_least(hits, options.least) for hits in results]
    if options.grid:
        save_grid(options.grid, drawings, similar)
    (_print_json if options.json else _print)(options.sketches, similar)
    for path, hits, left in zip(options.sketches, results, similar, strict=True):
        if hits and not left:
            advice = f"the most similar photo has {hits[0].similarity:.3f}; lower --least"
            print(f"note: {printable(path)}: no photo has a similarity of {options.least} or more; {advice}", file=sys.stderr)


def serve(options: ServeOptions) -> None:
    """Serve a page to draw on, until Ctrl-C."""
    try:
        from photo_search import service as page
    except ImportError as error:
        raise InputError(f"the page needs starlette and uvicorn ({error}): pip install starlette uvicorn") from error
    with page.listening(options.host, options.port) as socket:
        page.serve(_searcher(options), socket, options.host, options.auth)


def _searcher(options: Opened) -> Searcher:
    store = Store(options.index)
    chosen = NetworkOptions(checkpoint=options.checkpoint, pretrained_weights=options.pretrained_weights)
    return Searcher(store, recorded_network(store, chosen, options.device))


def _store_and_network(options: IndexOptions, chosen: NetworkOptions, running: RunningOptions) -> tuple[Store, Network | None]:
    """The network, if one is named, is read first: one that cannot be read changes nothing."""
    if chosen.is_named and not (options.output / FILE).is_file():
        network = new_network(chosen, running.device)
        return Store(options.output, make=True), network
    store = Store(options.output)
    return store, recorded_network(store, chosen, running.device) if chosen.is_named else None


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
        _update(store, network or recorded_network(store, chosen, running.device), roots, running)
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
    workers = resolve_workers(running.num_workers, network.device)
    started = time.perf_counter()
    done = indexing.update(store, network, roots, running.batch_size, workers)
    seconds = time.perf_counter() - started
    rate = f", {done.added / seconds:,.0f} photos/s" if done.added else ""
    added = counted(done.added, "photo", "photos")
    print(f"{added} embedded, {done.removed:,} gone; {len(store):,} in the index ({seconds:.1f} s{rate})")
    _print_faults("cannot be read", store.unreadable())
    _print_faults("could not be read just now, and will be tried again", done.postponed)
    for command, count in done.unsupported.items():
        photos = counted(count, "HEIC or AVIF photo needs", "HEIC or AVIF photos need")
        print(f"{photos} a library that is missing or too old: {command}, then run this again")


def _print_network(network: Network) -> None:
    licence = network.embedding.trunk.licence
    title = f"{network.untrained}, untrained" if network.untrained else network.weights
    known = f"; licence of its weights: {licence}" if licence else ""
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


def _hits(searcher: Searcher, path: str, drawing: Image.Image, options: QueryOptions) -> list[Hit]:
    if options.photo:
        return searcher.of_photo(path, options.k, options.codes, not options.all)
    try:
        return searcher.of_drawing(drawing, options.k, options.codes, not options.all)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _print(queries: list[str], results: list[list[Hit]]) -> None:
    for path, hits in zip(queries, results, strict=True):
        print(f"{printable(path)}:")
        for rank, hit in enumerate(hits, start=1):
            more = f"  (near-duplicates: {len(hit.duplicates)})" if hit.duplicates else ""
            print(f"{rank:5}  {hit.similarity:.3f}  {printable(hit.path)}{more}")
            for each in hit.duplicates:
                print(f"{'':5}  {each.similarity:.3f}    {printable(each.path)}")


def _print_json(queries: list[str], results: list[list[Hit]]) -> None:
    found = [[{**_described(hit), "duplicates": [*map(_described, hit.duplicates)]} for hit in hits] for hits in results]
    print(json.dumps([{"query": path, "results": hits} for path, hits in zip(queries, found, strict=True)], indent=1))


def _described(hit: Hit) -> dict[str, str | float]:
    return {"path": hit.path, "similarity": round(hit.similarity, 6)}
