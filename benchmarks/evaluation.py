"""How long the zero-shot test's ranking and figures take, beside the plain loop that the field's scripts run.

python benchmarks/evaluation.py                    # Sketchy Ext: 15,229 queries, 17,101 photos, 64 numbers each
python benchmarks/evaluation.py --device cuda
python benchmarks/evaluation.py --growth 1 2 4 8   # galleries so many times as large (default 1 2 4 8)

Real and hash ranking, all figures, from features. The loop is timed on a few hundred of the same queries and multiplied up.
"""

import argparse
import functools
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from retrieval.scores import evaluate_ranking
from utils.devices import finished

QUERIES, PHOTOS, BITS, CLASSES = 15_229, 17_101, 64, 25


def clustered(count: int, centres: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised features (count, d) scattered around their classes' centres, and their labels, the classes mixed."""
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
    return float(((recall[steps + 1] - recall[steps]) * precision[steps + 1]).sum()), ranked[:100].mean()


def plain_loop(query: np.ndarray, query_labels: np.ndarray, gallery: np.ndarray, gallery_labels: np.ndarray) -> np.ndarray:
    """(n, 2): AP and P@100 of each query, one after the other, in float64 as ours; codes as numbers of -1 and 1."""
    figures = []
    for features, label in zip(query, query_labels, strict=True):
        distances = np.sqrt(((gallery - features) ** 2).sum(1))
        figures.append(plain_query(distances, gallery_labels == label))
    return np.array(figures)


class PeakMemory:
    """Most memory in bytes the block had beyond what was in use at its start: resident on a CPU, allocated on a GPU."""

    def __init__(self, device: torch.device):
        self.device = device

    def __enter__(self):
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self.start = torch.cuda.memory_allocated(self.device)
        else:
            self.start = self.peak = _resident()
            self.done = threading.Event()
            self.watcher = threading.Thread(target=self._watch)
            self.watcher.start()
        return self

    def __exit__(self, *_):
        if self.device.type == "cuda":
            self.extra = torch.cuda.max_memory_allocated(self.device) - self.start
        else:
            self.done.set()
            self.watcher.join()
            self.extra = max(self.peak, _resident()) - self.start

    def _watch(self):
        while not self.done.wait(0.005):
            self.peak = max(self.peak, _resident())


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def timed(work, device: torch.device) -> float:
    started = finished(device)
    work()
    return finished(device) - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--growth", type=int, nargs="+", default=[1, 2, 4, 8], help="gallery sizes, in multiples")
    parser.add_argument("--loop_queries", type=int, default=200, help="queries the plain loop is timed on; 0: skip it")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads; the plain loop is one by its nature")
    options = parser.parse_args()
    device = torch.device(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(CLASSES, BITS, generator=generator)
    query, query_labels = clustered(QUERIES, centres, generator)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    print(f"{QUERIES:,} queries, {BITS} numbers or bits, {CLASSES} classes; {where}; torch {torch.__version__}")
    print(f"{'gallery':>9} {'real s':>8} {'hash s':>8} {'both s':>8} {'extra MB':>9} {'loop s':>8} {'loop ms':>8} {'times':>6}")
    warm = query[:300].to(device)
    for distance, features in (("euclidean", warm), ("hamming", warm > 0)):  # libraries and kernels load at their first use
        evaluate_ranking(distance, features, query_labels[:300], features, query_labels[:300])
    for times in options.growth:
        gallery, gallery_labels = clustered(times * PHOTOS, centres, generator)
        sets = {
            "euclidean": (query.to(device), gallery.to(device)),
            "hamming": ((query > 0).to(device), (gallery > 0).to(device)),
        }
        with PeakMemory(device) as memory:
            seconds = [
                timed(functools.partial(evaluate_ranking, distance, asked, query_labels, searched, gallery_labels), device)
                for distance, (asked, searched) in sets.items()
            ]
        both = sum(seconds)
        line = f"{len(gallery):>9,} {seconds[0]:>8.2f} {seconds[1]:>8.2f} {both:>8.2f} {memory.extra / 1e6:>9.0f}"
        if options.loop_queries and times == 1:
            loop = loop_seconds(options, device, query, query_labels, gallery, gallery_labels)
            line += f" {loop:>8.0f} {loop / 2 / QUERIES * 1e3:>8.2f} {loop / both:>6.0f}"
        print(line, flush=True)


def loop_seconds(options, device, query, query_labels, gallery, gallery_labels) -> float:
    """Both distances' loops over all queries, from the time a few take; what they find is compared with ours."""
    few = options.loop_queries
    total = 0.0
    for distance, change in (("euclidean", lambda x: x), ("hamming", lambda x: (x > 0) * 2 - 1)):
        arrays = [change(query[:few]).double(), query_labels[:few], change(gallery).double(), gallery_labels]
        started = time.perf_counter()
        figures = plain_loop(*(array.numpy() for array in arrays))
        total += (time.perf_counter() - started) / few * len(query)
        asked, searched = (query[:few], gallery) if distance == "euclidean" else (query[:few] > 0, gallery > 0)
        ours = evaluate_ranking(distance, asked.to(device), query_labels[:few], searched.to(device), gallery_labels).figures
        np.testing.assert_allclose(ours["ap_interpolated"], figures[:, 0], rtol=0, atol=1e-9)
        np.testing.assert_allclose(ours["p100_within_gallery"], figures[:, 1], rtol=0, atol=1e-9)
    return total


if __name__ == "__main__":
    main()
