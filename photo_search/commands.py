"""The commands of search.py and their options."""

import argparse
import json
import sys
import time
from pathlib import Path

from PIL import Image

from datasets.images import opened
from photo_search import indexing
from photo_search.encoder import Network, open_network
from photo_search.folder import AUTO, PHOTOS, IndexFolder
from photo_search.pictures import save_grid
from photo_search.searching import Hit, Searcher
from retrieval.vector_index import KINDS
from utils.devices import resolve_workers
from utils.errors import InputError
from utils.files import exclusive_lock, require_writable, why_no_file
from utils.parser import Group, Parser, image_side, path_argument, port, positive_int, whole_number, worker_count
from utils.ram import report_out_of_memory
from utils.text import printable

OUT_OF_MEMORY_HINT = "lower --batch_size, or --num_workers"
RECALL_AT = 20
MOST_FOUND = 10_000  # photos for one drawing
COMMANDS = "{index,query,serve} …"


def run(arguments: list[str]) -> None:
    """Do what the first word says; a mistake exits with code 2 after one line."""
    commands = {"index": index, "query": query, "serve": serve}
    if not arguments or arguments[0] not in commands:
        parser = Parser("Find photos by drawing: index folders of photos, then ask.", COMMANDS)
        parser.add_argument("command", choices=tuple(commands), help="each has options of its own: search.py index --help")
        parser.parse_args(arguments[:1])
        return
    commands[arguments[0]](arguments[1:])


def _parser(command: str, description: str, operands: str) -> Parser:
    parser = Parser(description, operands)
    parser.prog += f" {command}"
    return parser


def index(arguments: list[str]) -> None:
    """Make an index, or bring one up to date."""
    options = _index_options(arguments)
    with report_out_of_memory(OUT_OF_MEMORY_HINT):
        folder, network = _to_index(options)
        with exclusive_lock(options.output / ".lock", f"{options.output}: is being indexed already; wait for that to end"):
            _bring_up_to_date(folder, network, options)


def _to_index(options: argparse.Namespace) -> tuple[IndexFolder, Network | None]:
    """The network is there if it was named; one that cannot be read leaves everything as it is."""
    if options.checkpoint is None or (options.output / PHOTOS).is_file():
        folder = IndexFolder(options.output)
        return folder, _network_of(folder, options) if options.checkpoint else None
    network = open_network(options.checkpoint, options.device, options.image_size)
    return IndexFolder(options.output, make=True), network


def _bring_up_to_date(folder: IndexFolder, network: Network | None, options: argparse.Namespace) -> None:
    folder.remove_unfinished()
    if options.kind:
        folder.store.keep_facts(kind=options.kind)
    if options.remove:
        print(f"removed {indexing.remove(folder.store, options.remove):,} photos from the index; their files stay")
    roots = options.photos or [Path(root) for root in folder.store.fact("roots", []) if not options.remove]
    if roots:
        _update(folder, network or _network_of(folder, options), roots, options)
    _say_search(folder, options)


def _index_options(arguments: list[str]) -> argparse.Namespace:
    parser = _parser("index", "Index photos, or bring an index up to date with them.", "PHOTOS… --checkpoint FILE -o INDEX")
    parser.add_argument("photos", type=path_argument, nargs="*", help="files or folders; none: those indexed before")
    group = Group(parser, "index")
    group.add("--output", "-o", type=path_argument, required=True, help="the index's folder")
    group.add(
        "--checkpoint", type=path_argument, default=None, help="the trained network; may be left out of an index that has one"
    )
    group.add("--image_size", type=image_side, default=None, help="None: as in training, if the checkpoint says so, else 224")
    group.add("--remove", type=path_argument, nargs="+", default=None, help="take these files or folders out of the index")
    group.add(
        "--kind",
        choices=(AUTO, *KINDS[:-1]),
        default=None,
        help="auto: exact, or ivf where that would be slow; kept until another is named",
    )
    group.add("--codes", action="store_true", help="binary codes too, fitted on the photos")
    running = Group(parser, "running")
    running.add("--device", default="auto", help="auto, cpu, cuda, cuda:1, …")
    running.add("--batch_size", type=positive_int, default=64, help="photos embedded at once")
    running.add("--num_workers", type=worker_count, default=None, help="processes that decode; None: up to 8, or 1 on a CPU")
    return parser.parse_args(arguments)


def _update(folder: IndexFolder, network: Network, roots: list[Path], options: argparse.Namespace) -> None:
    folder.belong_to(network)
    workers = resolve_workers(options.num_workers, network.device)
    started = time.perf_counter()
    done = indexing.update(folder, network, roots, options.batch_size, workers)
    seconds = time.perf_counter() - started
    rate = f", {done.added / seconds:,.0f} photos/s" if done.added else ""
    print(f"{done.added:,} photos embedded, {done.removed:,} gone; {done.total:,} in the index ({seconds:.1f} s{rate})")
    _say_faults("cannot be read", folder.store.unreadable())
    _say_faults("could not be read just now, and will be tried again", done.put_off)
    if done.not_read:
        print(f"{done.not_read:,} HEIC or AVIF photos are not read here: save them as JPEG")


def _say_faults(what: str, faults: dict[str, str]) -> None:
    if faults:
        print(f"{len(faults):,} photos {what} (the first: {printable(next(iter(faults.values())))})")


def _say_search(folder: IndexFolder, options: argparse.Namespace) -> None:
    found = folder.searched(must_keep=True)
    if found is None and options.remove:
        print("no photo is left in the index")
        return
    if found is None:
        raise InputError(f"{folder.path}: no photo is in the index; name files or folders of photos")
    if found.kind == "exact":
        print("searched exactly")
    else:
        print(f"searched by {found.kind}: {found.recall_at(RECALL_AT):.1%} of the {RECALL_AT} most similar photos are found")
    if options.codes:
        codes, exact = folder.searched(codes=True, must_keep=True), found
        share = codes.recall_at(RECALL_AT, exact=exact)
        print(f"codes of {codes.bits} bits: {share:.1%} of the {RECALL_AT} most similar photos are found")


def query(arguments: list[str]) -> None:
    """Ask an index with pictures of drawings."""
    options = _query_options(arguments)
    if options.grid:
        _require_place(options.grid)
    folder = IndexFolder(options.index)
    searcher = Searcher(folder, _network_of(folder, options))
    if len(folder.store) == 0:
        raise InputError(f"{folder.path}: no photo is in the index; add some by `python search.py index PHOTOS -o {folder.path}`")
    drawings = [opened(path) for path in options.sketches]
    results = [_found(searcher, path, drawing, options) for path, drawing in zip(options.sketches, drawings, strict=True)]
    if options.grid:
        save_grid(options.grid, drawings, results)
    _print(options.sketches, results, options.json)


def _require_place(grid: Path) -> None:
    if not grid.parent.is_dir():
        raise InputError(f"--grid {grid}: there is no folder {grid.parent}; make it first, or choose another place")
    require_writable(grid, "--grid", ".png")


def _found(searcher: Searcher, path: str, drawing: Image.Image, options: argparse.Namespace) -> list[Hit]:
    if options.photo:
        return searcher.of_photo(path, options.k, options.codes)
    try:
        pixels = searcher.pixels(drawing)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return searcher.of_pixels(pixels, options.k, options.codes)


def _print(queries: list[str], results: list[list[Hit]], as_json: bool) -> None:
    if as_json:
        found = [[{"path": hit.path, "similarity": round(hit.similarity, 6)} for hit in hits] for hits in results]
        print(json.dumps([{"query": path, "results": hits} for path, hits in zip(queries, found, strict=True)], indent=1))
        return
    for path, hits in zip(queries, results, strict=True):
        print(f"{printable(path)}:")
        for rank, hit in enumerate(hits, start=1):
            print(f"{rank:5}  {hit.similarity:.3f}  {printable(hit.path)}")


def _query_options(arguments: list[str]) -> argparse.Namespace:
    parser = _parser("query", "Find the photos that a drawing is most like.", "SKETCH… --index INDEX")
    parser.add_argument("sketches", nargs="+", metavar="SKETCH", help="pictures of drawings, in any size")
    group = Group(parser, "query")
    group.add("--index", type=path_argument, required=True, help="the folder that `search.py index` made")
    group.add("--k", "-k", type=whole_number(1, MOST_FOUND), default=20, help=f"photos to find: 1 to {MOST_FOUND:,}")
    group.add("--codes", action="store_true", help="by binary codes")
    group.add("--photo", action="store_true", help="the pictures are photos: find others like them")
    group.add("--json", action="store_true", help="print results as JSON")
    group.add("--grid", type=path_argument, default=None, help="OUT.png: a picture of the drawings and what they found")
    group.add("--checkpoint", type=path_argument, default=None, help="where the network lies, if no longer where it was")
    group.add("--device", default="auto", help="auto, cpu, cuda, cuda:1, …")
    return parser.parse_args(arguments)


def serve(arguments: list[str]) -> None:
    """A page to draw on, until Ctrl-C."""
    options = _serve_options(arguments)
    try:
        from photo_search import service as page
    except ImportError as error:
        raise InputError(f"the page needs gradio ({error}): pip install 'gradio>=6.0'") from error
    folder = IndexFolder(options.index)
    _keep_linked_roots(folder)
    with page.listening(options.host, options.port) as socket:
        page.serve(Searcher(folder, _network_of(folder, options)), socket, options.host, options.auth)


def _keep_linked_roots(folder: IndexFolder) -> None:
    """Photos behind a link that is not known are not shown."""
    try:
        links = indexing.keep_linked_roots(folder.store)
    except InputError as error:
        advice = f"run `python search.py index -o {folder.path}` where it may be written"
        print(f"note: photos behind links are not shown ({printable(error)}): {advice}", file=sys.stderr)
        return
    for path, real_path in links.items():
        print(f"note: {printable(path)} leads to {printable(real_path)}, and its photos are shown from there", file=sys.stderr)


def _serve_options(arguments: list[str]) -> argparse.Namespace:
    parser = _parser("serve", "Serve a page on which photos are found by drawing.", "--index INDEX")
    group = Group(parser, "serve")
    group.add("--index", type=path_argument, required=True, help="the folder that `search.py index` made")
    group.add("--host", default="127.0.0.1", help="0.0.0.0 lets other machines in: give --auth with it")
    group.add("--port", type=port, default=7860, help="0: any that is free")
    group.add("--auth", type=_auth, default=None, metavar="USER:PASSWORD", help="asked of everyone, for the page and for photos")
    group.add("--checkpoint", type=path_argument, default=None, help="where the network lies, if no longer where it was")
    group.add("--device", default="auto", help="auto, cpu, cuda, cuda:1, …")
    return parser.parse_args(arguments)


def _auth(text: str) -> str:
    user, _, password = text.partition(":")
    if not user or not password:
        raise argparse.ArgumentTypeError("must be USER:PASSWORD")
    return text


def _network_of(folder: IndexFolder, options: argparse.Namespace) -> Network:
    checkpoint = options.checkpoint or folder.store.fact("checkpoint")
    if checkpoint is None:
        raise InputError(
            f"{folder.path}: holds no photos yet; `python search.py index PHOTOS --checkpoint FILE -o {folder.path}` adds some"
        )
    if not Path(checkpoint).is_file():
        advice = f"name the network that {folder.path} was made with by --checkpoint FILE"
        raise InputError(f"{checkpoint}: {why_no_file(Path(checkpoint))}; {advice}")
    return open_network(Path(checkpoint), options.device, getattr(options, "image_size", None) or folder.store.fact("side"))
