"""What an index costs in each home: the folder (SQLite and faiss) and Milvus. Time to build it, of a query; recall.

python benchmarks/stores.py                                              # folder and Milvus Lite, 100,000 vectors; some minutes
python benchmarks/stores.py --homes folder milvus:http://localhost:19530#benchmark
python benchmarks/stores.py --width 512

The vectors and queries are those of benchmarks/search.py. Times include the database: photos are added in the batches of
`search.py index`, and a query is one call of the store, as `search.py query` and the page make it. A server's collections are
deleted in the end.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.search import K, clustered, plain_search
from photo_search.folder_store import FolderStore
from photo_search.index import recall
from photo_search.milvus_address import milvus_address
from photo_search.store import FORMAT, PhotoFile, Store

BATCH, QUERIES = 64, 100
KINDS = {"exact": ("exact", False), "ivf": ("ivf", False), "hnsw": ("auto", False), "codes": ("exact", True)}
COLUMNS = "home", "searched by", "add s", "build s", "ms a query", f"recall@{K}"


def filled(store: Store, vectors: np.ndarray) -> float:
    """Add the vectors as photos. Returns the seconds."""
    store.keep_facts(format=FORMAT, network="benchmark", side=224, width=vectors.shape[1])
    started = time.perf_counter()
    for start in range(0, len(vectors), BATCH):
        block = vectors[start : start + BATCH]
        store.add([PhotoFile(f"/photos/{start + row:08d}.jpg", 100_000, start + row) for row in range(len(block))], block, {})
    return time.perf_counter() - started


def rows_of(title: str, store: Store, kinds: list[str], vectors: np.ndarray, queries: np.ndarray) -> Iterator[list[str]]:
    """The table's rows of one home; hnsw is Milvus's only."""
    added = f"{filled(store, vectors):.1f}"
    expected = plain_search(queries, vectors)
    for kind in kinds:
        chosen, codes = KINDS[kind]
        store.keep_facts(kind=chosen)
        started = time.perf_counter()
        with mock.patch("photo_search.milvus_index.LARGEST_EXACT", 0):  # else so few are searched exactly
            how = store.prepare(codes).partition(":")[0]
        built, times, found = time.perf_counter() - started, [], []
        for query in queries:
            started = time.perf_counter()
            ids = store.search(query[None], K, codes)[0][0]
            times.append(time.perf_counter() - started)
            photos = store.photos_of(ids.tolist())
            found.append([photos[id_].changed for id_ in ids.tolist()])
        share = recall(expected, np.array(found))
        yield [title, how.removeprefix("searched "), added, f"{built:.1f}", f"{np.median(times) * 1e3:.1f}", f"{share:.3f}"]
        added = ""


def opened(home: str, folder: Path) -> Store:
    if home == "folder":
        return FolderStore(folder, make=True)
    from photo_search.milvus_store import MilvusStore

    return MilvusStore(folder, milvus_address(home), "", make=True)


def remove_collections(store: Any) -> None:
    """Delete what a benchmark left on a server."""
    for name in store.milvus.ask("list_collections"):
        if name == store.photos or name.startswith(f"{store.photos}_"):
            store.milvus.ask("drop_collection", name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--homes", nargs="+", default=["folder", "milvus:lite.db"], help="folder, milvus:URI")
    parser.add_argument("--kinds", nargs="+", default=["exact", "ivf", "codes"], choices=tuple(KINDS))
    parser.add_argument("--size", type=int, default=100_000, help="number of vectors")
    parser.add_argument("--width", type=int, default=64, help="numbers per vector")
    options = parser.parse_args()
    vectors, queries = clustered(options.size, options.width, 0)
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for home in options.homes:
        with tempfile.TemporaryDirectory() as folder:
            place = home.replace("milvus:lite.db", f"milvus:{folder}/lite.db")
            title = "Milvus Lite" if place != home else home
            store = opened(place, Path(folder) / "index")
            for row in rows_of(title, store, options.kinds, vectors, queries[:QUERIES]):
                print(f"| {' | '.join(row)} |", flush=True)
            if store.is_shared:
                remove_collections(store)


if __name__ == "__main__":
    main()
