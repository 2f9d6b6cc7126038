"""What each kind of index costs and finds, beside a plain matrix product: time to build it, to fill it again, of a query; recall.

python benchmarks/search.py                                # 10,000, 100,000 and 1,000,000 vectors; some minutes
python benchmarks/search.py --sizes 10000 --kinds exact codes

Synthetic unit vectors in clusters, 64 numbers each. A query is another vector of the same clusters with noise added.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import faiss
import numpy as np
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from photo_search.index import KINDS, VectorIndex, build, perturbed, recall, unit

CLUSTERS, QUERIES, K = 250, 200, 20
PLAIN_QUERIES = 20  # at once: their similarities to a million vectors take 80 MB
COLUMNS = "n", "kind", "build s", "fill s", "ms, one core", "ms, all", f"recall@{K}"


def clustered(n: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Photos (n, width) scattered around centres as far as the centres are from each other, and queries (200, width)."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((CLUSTERS, width), np.float32)
    points = centres[rng.integers(0, CLUSTERS, n + QUERIES)]
    points += rng.standard_normal(points.shape, np.float32)
    made = unit(points)
    return made[QUERIES:], perturbed(made[:QUERIES], rng)


def plain_search(queries: np.ndarray, photos: np.ndarray) -> np.ndarray:
    """Positions (q, K) of the most similar: one product with all, a partial sort, a sort of what is left."""
    found = []
    for start in range(0, len(queries), PLAIN_QUERIES):
        distance = -(queries[start : start + PLAIN_QUERIES] @ photos.T)
        nearest = np.argpartition(distance, K, axis=1)[:, :K]
        order = np.argsort(np.take_along_axis(distance, nearest, 1), axis=1)
        found.append(np.take_along_axis(nearest, order, 1))
    return np.concatenate(found)


def seconds(work: Callable, *values: object) -> float:
    started = time.perf_counter()
    work(*values)
    return time.perf_counter() - started


def query_times(search: Callable, queries: np.ndarray, cores: int) -> list[str]:
    """Milliseconds per query: the median of queries that come alone, on one core; the best of three runs with all at once."""
    with threadpool_limits(1):
        faiss.omp_set_num_threads(1)
        alone = float(np.median([seconds(search, queries[at : at + 1]) for at in range(len(queries))]))
    with threadpool_limits(cores):
        faiss.omp_set_num_threads(cores)
        together = min(seconds(search, queries) for _ in range(3)) / len(queries)
    return [f"{alone * 1e3:.2f}", f"{together * 1e3:.2f}"]


def rows_of(n: int, kinds: list[str], width: int, cores: int, seed: int) -> Iterator[list[str]]:
    """The table's rows for n vectors."""
    photos, queries = clustered(n, width, seed)
    expected = build("exact", np.arange(n), photos).search(queries, K)[0]
    times = query_times(lambda some: plain_search(some, photos), queries, cores)
    yield [f"{n:,}", "plain", "", "", *times, f"{recall(expected, plain_search(queries, photos)):.3f}"]
    for kind in kinds:
        started = time.perf_counter()
        index = build(kind, np.arange(n), photos)
        built = time.perf_counter() - started
        filled = seconds(VectorIndex(kind, width, index.fit).add, np.arange(n), photos)
        times = query_times(lambda some, index=index: index.search(some, K), queries, cores)
        yield [f"{n:,}", kind, f"{built:.2f}", f"{filled:.2f}", *times, f"{recall(expected, index.search(queries, K)[0]):.3f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--width", type=int, default=64, help="numbers per vector")
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help='the "all" of the table')
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"{options.width} numbers per vector, {QUERIES} queries; {options.cores} cores; faiss {faiss.__version__}")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for n in options.sizes:
        for row in rows_of(n, options.kinds, options.width, options.cores, options.seed):
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
