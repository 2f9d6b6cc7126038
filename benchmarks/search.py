"""What each kind of index costs and finds, beside a plain matrix product: build, memory, file, query, recall.

python benchmarks/search.py                                # 10,000, 100,000 and 1,000,000 vectors; a quarter of an hour
python benchmarks/search.py --sizes 10000 --kinds exact codes
python benchmarks/search.py --skip hnsw                    # which takes most of the time

Synthetic unit vectors in clusters, 64 numbers each; queries are others of the same clusters, made less like any single photo.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from retrieval.index_base import faiss_library
from retrieval.vector_index import KINDS, VectorIndex, build, load, recall, rerank, unit

CLUSTERS, QUERIES, K = 250, 200, 20
PLAIN_QUERIES = 20  # at once: their distances to a million photos take 80 MB
RERANKED = 500  # nearest codes whose vectors are compared
COLUMNS = "n", "kind", "build s", "bytes", "file", "load s", "ms, one core", "ms, all", f"recall@{K}", "what was chosen"


def clustered(n: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Photos (n, width) scattered around centres as far as the centres are from each other, and queries (200, width)."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((CLUSTERS, width), np.float32)
    points = centres[rng.integers(0, CLUSTERS, n + QUERIES)]
    points += rng.standard_normal(points.shape, np.float32)
    made = unit(points)
    return made[QUERIES:], unit(made[:QUERIES] + unit(rng.standard_normal((QUERIES, width))))


def plain_search(queries: np.ndarray, photos: np.ndarray) -> np.ndarray:
    """Positions (q, K) of the most similar: one product with all, a partial sort, a sort of what is left."""
    found = []
    for start in range(0, len(queries), PLAIN_QUERIES):
        distance = -(queries[start : start + PLAIN_QUERIES] @ photos.T)
        nearest = np.argpartition(distance, K, axis=1)[:, :K]
        order = np.argsort(np.take_along_axis(distance, nearest, 1), axis=1)
        found.append(np.take_along_axis(nearest, order, 1))
    return np.concatenate(found)


def one_by_one(search, queries: np.ndarray) -> float:
    """Median milliseconds of a query that comes alone."""
    search(queries[:1])
    seconds = []
    for number in range(len(queries)):
        started = time.perf_counter()
        search(queries[number : number + 1])
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds)) * 1e3


def all_at_once(search, queries: np.ndarray) -> float:
    """Milliseconds a query when all come together; the best of three."""
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        search(queries)
        seconds.append(time.perf_counter() - started)
    return min(seconds) / len(queries) * 1e3


def query_times(search, queries: np.ndarray, cores: int) -> list[str]:
    from threadpoolctl import threadpool_limits

    faiss = faiss_library()
    with threadpool_limits(1):
        faiss.omp_set_num_threads(1)
        alone = one_by_one(search, queries)
    with threadpool_limits(cores):
        faiss.omp_set_num_threads(cores)
        together = all_at_once(search, queries)
    return [f"{alone:.2f}", f"{together:.2f}"]


def saved(index: VectorIndex, n: int) -> list[str]:
    """Bytes a vector of the file, seconds to load it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photos.index"
        index.save(path)
        started = time.perf_counter()
        load(path)
        return [f"{path.stat().st_size / n:.0f}", f"{time.perf_counter() - started:.2f}"]


def choice(index: VectorIndex) -> str:
    if index.kind == "ivf":
        return f"{index.nprobe} of {index.lists} lists"
    if index.kind == "hnsw":
        return f"efSearch {index.effort}"
    return f"{index.bits} bits" if index.kind == "codes" else ""


def rows_of(n: int, options: argparse.Namespace):
    """The table's lines for n vectors, each a list of texts."""
    photos, queries = clustered(n, options.width, options.seed)
    exact = build("exact", np.arange(n), photos)
    wanted = exact.search(queries, K)[0]
    times = query_times(lambda asked: plain_search(asked, photos), queries, options.cores)
    share = recall(wanted, plain_search(queries, photos))
    yield [f"{n:,}", "plain", "", f"{4 * options.width}", "", "", *times, f"{share:.3f}", "NumPy"]
    for kind in options.kinds:
        faiss_library().omp_set_num_threads(options.cores)
        started = time.perf_counter()
        index = build(kind, np.arange(n), photos)
        seconds = time.perf_counter() - started
        held = [f"{seconds:.2f}", f"{index.nbytes / n:.0f}", *saved(index, n)]
        times = query_times(lambda asked, index=index: index.search(asked, K), queries, options.cores)
        share = recall(wanted, index.search(queries, K)[0])
        yield [f"{n:,}", kind, *held, *times, f"{share:.3f}", choice(index)]
        if kind == "codes":

            def search(asked, index=index):
                return rerank(asked, index.search(asked, RERANKED)[0], K, exact.vectors_of)

            times = query_times(search, queries, options.cores)
            share = recall(wanted, search(queries)[0])
            yield [f"{n:,}", "re-ranked", "", "", "", "", *times, f"{share:.3f}", f"{RERANKED} codes by their vectors"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--skip", nargs="+", default=[], choices=KINDS)
    parser.add_argument("--width", type=int, default=64, help="numbers a vector")
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help='the "all" of the table')
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.kinds = [kind for kind in options.kinds if kind not in options.skip]
    load_average = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    faiss = faiss_library()
    print(f"{options.width} numbers, {QUERIES} queries; {options.cores} cores{load_average}; faiss {faiss.__version__}")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for n in options.sizes:
        for row in rows_of(n, options):
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
