"""Time of ranking and scoring in the zero-shot test, beside the plain loop over queries that many scripts use.

python benchmarks/evaluation.py                    # Sketchy Ext: 15,229 queries, 17,101 photos, 64 numbers each
python benchmarks/evaluation.py --device cuda
python benchmarks/evaluation.py --growth 1 2 4 8   # galleries 1, 2, 4 and 8 times as large

Times real and hash rankings with all metrics, from features, and `evaluate_features.py` on saved features, from the start of the
process to its end. The loop is timed on a few hundred of the queries and extrapolated.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from retrieval.scores import evaluate_ranking
from utils.devices import finished

ROOT = Path(__file__).resolve().parent.parent
QUERIES, PHOTOS, BITS, CLASSES = 15_229, 17_101, 64, 25


def clustered(count: int, centres: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised features (count, d) scattered around the centres of their classes, and their labels in random order."""
    labels = torch.randint(len(centres), (count,), generator=generator)
    features = centres[labels] + 2.5 * torch.randn(count, centres.shape[1], generator=generator)
    return torch.nn.functional.normalize(features, dim=1), labels


def plain_query(distances: np.ndarray, hits: np.ndarray) -> tuple[float, float]:
    """Released protocol for one query, step by step: sort, cumulate, interpolate; AP over all ranks and P@100."""
    ranked = hits[np.argsort(distances, kind="stable")]
    found = np.cumsum(ranked)
    recall = np.concatenate([[0.0], found / ranked.sum(), [1.0]])
    precision = np.concatenate([[0.0], found / np.arange(1, len(ranked) + 1), [0.0]])
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.flatnonzero(recall[1:] != recall[:-1])
    return float(((recall[steps + 1] - recall[steps]) * precision[steps + 1]).sum()), float(ranked[:100].mean())


def plain_loop(query: np.ndarray, query_labels: np.ndarray, gallery: np.ndarray, gallery_labels: np.ndarray) -> np.ndarray:
    """(n, 2): AP and P@100 of each query, one after the other, in float64; codes as numbers of -1 and 1."""
    pairs = zip(query, query_labels, strict=True)
    return np.array([plain_query(np.sqrt(((gallery - row) ** 2).sum(1)), gallery_labels == label) for row, label in pairs])


def ranking_seconds(distance: str, sets: tuple[torch.Tensor, ...], device: torch.device) -> float:
    """sets: queries, their labels, gallery, its labels."""
    started = finished(device)
    evaluate_ranking(distance, *sets)
    return finished(device) - started


def megabytes(device: torch.device) -> tuple[float, float]:
    """Memory in use and the most used so far: allocated on a GPU, resident on a CPU."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) / 1e6, torch.cuda.max_memory_allocated(device) / 1e6
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6
    return resident, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def loop_seconds(distance: str, sets: tuple[torch.Tensor, ...], queries: int) -> float:
    """Time of the loop over all queries, extrapolated from `queries`, whose metrics are compared with ours."""
    query, query_labels, gallery, gallery_labels = (part.cpu() for part in sets)
    few = query[:queries], query_labels[:queries], gallery, gallery_labels
    arrays = [(part * 2.0 - 1 if part.dtype == torch.bool else part).numpy() for part in few]
    started = time.perf_counter()
    found = plain_loop(*(array.astype(np.float64) for array in arrays))
    taken = time.perf_counter() - started
    values = evaluate_ranking(distance, *few).per_query
    expected = np.stack([values["ap_interpolated"], values["p100_within_gallery"]], axis=1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    return taken / queries * len(query)


def process_seconds(sets: tuple[torch.Tensor, ...], options: argparse.Namespace) -> float:
    """Median time of `evaluate_features.py` on the saved sets, start-up and reading included."""
    query, query_labels, gallery, gallery_labels = (part.cpu().numpy() for part in sets)
    taken = []
    with tempfile.TemporaryDirectory() as folder:
        np.savez(f"{folder}/Q.npz", features=query, labels=query_labels)
        np.savez(f"{folder}/G.npz", features=gallery, labels=gallery_labels)
        files = ["--query", f"{folder}/Q.npz", "--gallery", f"{folder}/G.npz", "--device", str(options.device)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
        for _ in range(options.repeats):
            started = time.perf_counter()
            command = [sys.executable, "evaluate_features.py", *files]
            subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
            taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--growth", type=int, nargs="+", default=[1, 2, 4, 8], help="gallery sizes, in multiples")
    parser.add_argument("--loop_queries", type=int, default=200, help="queries that the plain loop is timed on; 0: skip it")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads; the plain loop uses one")
    parser.add_argument(
        "--repeats", type=int, default=3, help="runs of evaluate_features.py, of which the median counts; 0: none"
    )
    options = parser.parse_args()
    device = options.device
    torch.set_num_threads(options.threads)
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(CLASSES, BITS, generator=generator)
    query, query_labels = clustered(QUERIES, centres, generator)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{options.threads} CPU threads"
    print(f"{QUERIES:,} queries, {BITS} numbers or bits, {CLASSES} classes; {where}; torch {torch.__version__}")
    print(f"{'gallery':>9} {'real s':>8} {'hash s':>8} {'extra MB':>9} {'loop s':>8} {'times':>6} {'process s':>10} {'times':>6}")
    for times in [0, *options.growth]:  # first a small one: libraries and kernels load at their first use
        gallery, gallery_labels = clustered(times * PHOTOS or 300, centres, generator)
        rows, photos = query[: len(gallery)].to(device), gallery.to(device)
        labels = query_labels[: len(rows)]
        sets = {"euclidean": (rows, labels, photos, gallery_labels), "hamming": (rows > 0, labels, photos > 0, gallery_labels)}
        before, _ = megabytes(device)
        taken = [ranking_seconds(distance, each, device) for distance, each in sets.items()]
        line = f"{len(gallery):>9,} {taken[0]:>8.2f} {taken[1]:>8.2f} {megabytes(device)[1] - before:>9.0f}"
        if options.loop_queries and times == 1:
            loop = sum(loop_seconds(distance, each, options.loop_queries) for distance, each in sets.items())
            line += f" {loop:>8.0f} {loop / sum(taken):>6.0f}"
            if options.repeats:
                seconds = process_seconds(sets["euclidean"], options)
                line += f" {seconds:>10.2f} {loop / seconds:>6.0f}"
        if times:
            print(line, flush=True)


if __name__ == "__main__":
    main()
