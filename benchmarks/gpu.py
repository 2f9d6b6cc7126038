"""The speed of everything on this machine's GPUs in one table, which is also written to results/gpu_NAME.csv.

python benchmarks/gpu.py                               # Sketchy's default step: 96 images, 288 views of 224 px
python benchmarks/gpu.py --processes 1 2 4             # instead of 1, 2, 4, 8, up to the number of GPUs
python benchmarks/gpu.py --device cpu --image_size 32 --batch_size 12 --steps 2    # without a GPU, to try it out

A step beside its floor and the plain step, the shares of its parts, an epoch beside its steps, embedding, ranking, and training
steps on several GPUs, whose statistics and losses are those of the whole batch.
"""

import argparse
import csv
import functools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks import epoch, evaluation, processes, training_step
from benchmarks.setting import Setting, seconds, setting, side_by_side
from evaluation.embedding import Embedder
from models.embedding import embedding_network
from models.engine import FLOAT32, precision_of
from models.engines import open_engine
from models.names import PHOTO
from training.step import TrainingStep
from utils.cores import usable_cores
from utils.errors import InputError, report_errors
from utils.files import atomic_write, require_writable
from utils.parser import path_argument, positive_int
from utils.runs import git_sha

RESULTS = Path(__file__).resolve().parent.parent / "results"
COLUMNS = "figure", "value", "spread", "definition", "data", "command", "commit", "seeds", "machine"  # of results/results.csv


class Figure(NamedTuple):
    """One row of the table; `data` is that of training by default."""

    figure: str
    value: float
    definition: str
    data: str = ""


def several(it: Setting, counts: list[int], steps: int) -> Iterator[Figure]:
    """Rates and memory of training steps in 1, 2, … processes, each on its own GPU; beside the first, its multiple."""
    first = 0.0
    for count in counts:
        kinds: dict[str, list[str]] = {"": []}
        if count > 1:
            whole = str(count * it.batch_size)
            kinds |= {", --batchnorm local": ["--batchnorm", "local"], f", batch of {whole}": ["--batch_size", whole]}
        for kind, options in kinds.items():
            rate = processes.started(it, count, steps, *options)
            name = f"training, {count} process{'es' * (count > 1)}{kind}"
            first = first or rate["images_per_second"]
            yield Figure(name, rate["images_per_second"], f"images/s, mean of {steps} steps, batch in memory")
            yield Figure(f"{name}, times", rate["images_per_second"] / first, f"of the rate of {counts[0]} process(es)")
            yield Figure(f"{name}, memory", rate["megabytes"], "MB at the peak in rank 0: tensors on a GPU, resident on a CPU")


def compile_seconds(it: Setting, step: TrainingStep) -> float | None:
    """None if it does not work here, and then a line says why."""
    try:
        return seconds(lambda: it.compile(step), it.device)
    except InputError:
        return None


def steps_of(it: Setting, rounds: int, is_compiled: bool) -> Iterator[Figure]:
    """A step beside its floor and the plain step, and the shares of its parts."""
    batch = it.batch_at_hand()
    ours = training_step.ours(it.step(), batch)
    works = {"floor: bare networks": training_step.floor(it, batch), "ours": ours}
    works["plain, float32"] = training_step.plain(it, batch)
    step = it.step()
    if is_compiled and (compiling := compile_seconds(it, step)):
        yield Figure("compiling a step", compiling, "s, or less from code that is kept")
        works["ours, --compile"] = training_step.ours(step, batch)
    taken = side_by_side(works, it.device, rounds)
    for name, value in taken.items():
        yield Figure(f"step, {name}", value, f"ms, median of {rounds} in turns, batch in memory")
        yield Figure(f"step, {name}, of floor", value / taken["floor: bare networks"], "ratio of the medians")
    parts = training_step.phases(ours, it.device, rounds)
    for name, value in parts.items():
        share = value / sum(parts.values())
        yield Figure(f"share of {name.strip()}", share, f"of the step, mean of {rounds}, each part alone on the GPU")


def epochs_of(it: Setting, steps: int) -> Iterator[Figure]:
    """An epoch with data loading beside the same steps on one batch in memory."""
    alone, whole = epoch.steps_alone(it, steps), epoch.our_epoch(it)
    loading = f"{it.resources.num_workers} workers decoding 256-px files"
    yield Figure("steps alone", steps * it.batch_size / alone, f"images/s, {steps} steps on one batch in memory")
    yield Figure("epoch", steps * it.batch_size / whole, f"images/s, {steps} steps, {loading}")
    yield Figure("epoch, of steps alone", whole / alone, "ratio of the times")


def embedding_of(it: Setting) -> Iterator[Figure]:
    """Photos embedded per second, with decoding."""
    photos, workers = it.split.photos("train"), it.resources.num_workers
    for precision in dict.fromkeys((FLOAT32, precision_of(it.resources.amp))):
        network = embedding_network(it.step().student, it.config.preprocessing)
        engine = open_engine(network, it.device, precision, images=len(photos))
        embed = Embedder(engine, it.device, it.batch_size, workers)
        embed(photos, PHOTO, "warm up")
        rate = len(photos) / seconds(functools.partial(embed, photos, PHOTO, "photos"), it.device)
        yield Figure(f"embedding, {precision}", rate, f"photos/s of {len(photos)} by {engine}, {workers} workers decoding")


def rankings_of(it: Setting) -> Iterator[Figure]:
    """Queries ranked and scored per second, at the size of Sketchy Ext."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(evaluation.CLASSES, evaluation.BITS, generator=generator)
    query, labels = evaluation.clustered(evaluation.QUERIES, centres, generator)
    gallery, gallery_labels = evaluation.clustered(evaluation.PHOTOS, centres, generator)
    query, gallery = query.to(it.device), gallery.to(it.device)
    sets = {"euclidean": (query, labels, gallery, gallery_labels), "hamming": (query > 0, labels, gallery > 0, gallery_labels)}
    for distance, each in sets.items():
        evaluation.ranking_seconds(distance, each, it.device)  # kernels load at their first use
        rate = len(query) / evaluation.ranking_seconds(distance, each, it.device)
        data = f"{len(query):,} random queries, {len(gallery):,} photos, {evaluation.BITS} numbers or bits"
        yield Figure(f"ranking, {distance}", rate, "queries/s, all metrics of each", data)


def measured(it: Setting, options: argparse.Namespace, counts: list[int]) -> Iterator[Figure]:
    """All rows; those of several processes first, while this one holds no memory of the GPU."""
    yield from several(it, counts, options.steps)
    yield from steps_of(it, options.steps, is_compiled=not options.no_compile)
    yield from epochs_of(it, options.steps)
    yield from embedding_of(it)
    yield from rankings_of(it)


def process_counts(given: list[int] | None, is_gpu: bool, steps: int) -> list[int]:
    """Raises InputError if there are fewer GPUs, or too few images for the largest batch."""
    available = torch.cuda.device_count() if is_gpu else usable_cores()
    counts = given or [count for count in (1, 2, 4, 8) if count <= (available if is_gpu else 1)]
    most = max(counts)
    if most > available:
        raise InputError(f"--processes {most}: there are {available} {'GPUs' if is_gpu else 'cores'}; use no more")
    if most > steps + 1:
        raise InputError(f"--steps {steps}: draws too few images for {most} processes; use at least {most - 1}")
    return counts


def write(path: Path, figures: list[Figure], it: Setting) -> None:
    """In the columns of results/results.csv."""
    sha, plus, changes = (git_sha() or "").partition("+")
    training = f"drawn 256-px files, batch of {it.batch_size}, {3 * it.batch_size} views of {it.image_size} px"
    command = " ".join(["benchmarks/gpu.py", *sys.argv[1:]])
    run = command, f"{sha[:7]}{plus}{changes}", 0, f"{it.machine()}, {usable_cores()} CPU cores"
    with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for each in figures:
            rows.writerow([each.figure, f"{each.value:.4g}", "", each.definition, each.data or training, *run])


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--processes", type=positive_int, nargs="+", help="numbers of GPUs to train on (default: 1 2 4 8)")
    parser.add_argument("--results", type=path_argument, help="CSV file to write (default: results/gpu_NAME.csv)")


def main() -> None:
    if not torch.cuda.is_available() and not any(word.split("=")[0] in ("--device", "--help", "-h") for word in sys.argv):
        raise InputError("no GPU was found; run this on a machine with one, or try it out with --device cpu")
    flag = "leave out the compiled network"
    with setting(__doc__.splitlines()[0], steps=20, add=add_options, no_compile=flag) as (it, options):
        is_gpu = it.device.type == "cuda"
        counts = process_counts(options.processes, is_gpu, options.steps)
        name = torch.cuda.get_device_name(it.device) if is_gpu else "cpu"
        path = options.results or RESULTS / f"gpu_{re.sub('[^a-z0-9]+', '_', name.lower())}.csv"
        require_writable(path, "--results", ".csv")
        print(f"{it.machine()}\n\n| figure | value | definition |\n|---|---|---|")
        figures = []
        for each in measured(it, options, counts):
            figures.append(each)
            print(f"| {each.figure} | {each.value:,.4g} | {each.definition} |", flush=True)
        write(path, figures, it)
        print(f"\nwritten to {path}")


if __name__ == "__main__":
    with report_errors():
        main()
