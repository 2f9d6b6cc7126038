"""search.py query: the photos that are most similar to drawings."""

import json
import sys

from PIL import Image

from datasets.images import opened
from photo_search.config import QueryOptions, StoreOptions
from photo_search.opening import open_searcher
from photo_search.pictures import save_grid
from photo_search.searching import Hit, Searcher, at_least
from utils.errors import InputError
from utils.files import require_writable
from utils.text import printable


def run(options: QueryOptions, place: StoreOptions) -> None:
    """Print the photos that are most similar to each query."""
    if options.grid and not options.grid.parent.is_dir():
        raise InputError(f"--grid {options.grid}: there is no folder {options.grid.parent}; make it, or choose another place")
    if options.grid:
        require_writable(options.grid, "--grid", ".png")
    searcher = open_searcher(options, place)
    if len(searcher.store) == 0:
        advice = f"add some by `python search.py index PHOTOS -o {options.index}`"
        raise InputError(f"{options.index}: no photo is in the index; {advice}")
    drawings = [opened(path) for path in options.sketches]
    print(f"searching by {searcher.network.engine}", file=sys.stderr)
    results = [_hits(searcher, path, drawing, options) for path, drawing in zip(options.sketches, drawings, strict=True)]
    similar = results if options.least is None else [at_least(hits, options.least) for hits in results]
    if options.grid:
        save_grid(options.grid, drawings, similar)
    (_print_json if options.json else _print)(options.sketches, similar)
    for path, hits, left in zip(options.sketches, results, similar, strict=True):
        if hits and not left:
            advice = f"the most similar photo has {hits[0].similarity:.3f}; lower --least"
            print(f"note: {printable(path)}: no photo has a similarity of {options.least} or more; {advice}", file=sys.stderr)


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
