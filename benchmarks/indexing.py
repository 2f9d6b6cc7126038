"""Embedding photos, each engine beside eager PyTorch in float32: many at once, one query, and photos from files.

python benchmarks/indexing.py                                                    # a new cse_resnet50, drawn photos, 224 px
python benchmarks/indexing.py --checkpoint FILE --photos FOLDER --sketches FOLDER

files/s: `search.py index`, with decoding and the database. top-20: the share of the 20 photos nearest to a sketch that are also
nearest by eager float32; the sketch is embedded in float32, as `query` and `serve` do. MB: the peak memory of a process that
opens the network and embeds 64 photos; OpenVINO opens the network that an index keeps.
"""

import argparse
import functools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from datasets.catalog import SKETCHY
from datasets.images import decode
from models.dsn import Student
from models.embedding import EmbeddingNetwork, embedding_network, trained_preprocessing
from models.engine import BF16, FLOAT32, Engine
from models.engines import KeptIn, open_engine
from models.names import PHOTO, SKETCH
from models.openvino_engine import kept_engine, openvino_version
from models.restore import recorded_image_size, restore_student
from models.torch_engine import TorchEngine, optimised
from photo_search import indexing
from photo_search.collecting import collect
from photo_search.folder_store import FolderStore
from photo_search.network import Network
from synthetic.draw import Settings, draw_dataset
from utils.cores import usable_cores
from utils.devices import choose_device, has_native_bf16
from utils.errors import InputError, report_errors
from utils.parser import image_side, path_argument, positive_int

EAGER = "PyTorch, eager float32"
ROUNDS, AT_ONCE, NEAREST = 5, 64, 20


def network_of(options: argparse.Namespace) -> EmbeddingNetwork:
    student, content = restore_student(options.checkpoint, None)
    return embedding_network(student, trained_preprocessing(student, recorded_image_size(content), options.image_size)).eval()


def opened(name: str, options: argparse.Namespace) -> Engine:
    """The engine of this name, which `names` lists."""
    network, device = network_of(options), choose_device(options.device)
    if name == EAGER:
        return TorchEngine(network.to(device, memory_format=torch.channels_last), device)
    library, _, precision = name.rpartition(" ")
    if library.startswith("OpenVINO"):
        return open_engine(network, device, precision, KeptIn(options.kept, str(options.checkpoint)))
    return optimised(network, device, precision)


def names(device: torch.device) -> list[str]:
    """Eager PyTorch and every engine that this machine has."""
    libraries = ["PyTorch, optimised"] + ["OpenVINO"] * (device.type == "cpu" and openvino_version() is not None)
    precisions = [FLOAT32] + [BF16] * has_native_bf16(device)
    return [EAGER, *(f"{library} {precision}" for library in libraries for precision in precisions)]


def peak_megabytes() -> str:
    """Of this process alone: getrusage also counts the one that started it."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((f"{int(line.split()[1]) / 1024:.0f}" for line in lines if line.startswith("VmHWM")), "unknown")


def in_turns(works: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The median seconds of each; the first round warms up."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(1 + ROUNDS):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            taken[name].append(time.perf_counter() - started)
    return {name: statistics.median(seconds[1:]) for name, seconds in taken.items()}


def files_per_second(engine: Engine, photos: Path) -> float:
    with tempfile.TemporaryDirectory(prefix="dsn-benchmark-") as folder:
        store, network = FolderStore(Path(folder), make=True), Network(engine, "benchmark", "benchmark")
        store.belong_to(network)
        started = time.perf_counter()
        done = indexing.update(store, network, [str(photos)], AT_ONCE, min(8, usable_cores()))
        return done.added / (time.perf_counter() - started)


def nearest(queries: np.ndarray, engine: Engine, photos: np.ndarray) -> np.ndarray:
    """(queries, NEAREST) rows of photos."""
    return np.argsort(-queries @ engine.embed(photos, PHOTO).T, axis=1)[:, :NEAREST]


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.mean([len(np.intersect1d(*rows)) / NEAREST for rows in zip(first, second, strict=True)]))


def table(options: argparse.Namespace) -> None:
    engines = {name: opened(name, options) for name in names(choose_device(options.device))}
    side = engines[EAGER].preprocessing.image_size
    read = functools.partial(decode, side=side, fit=engines[EAGER].preprocessing.fit)
    photos, sketches = (
        np.stack([read(path) for path in list(collect([folder]).photos)[:: options.every]])
        for folder in (options.photos, options.sketches)
    )
    some, one = np.resize(photos, (AT_ONCE, *photos.shape[1:])), sketches[:1]
    many = in_turns({name: functools.partial(engine.embed, some, PHOTO) for name, engine in engines.items()})
    single = in_turns({name: functools.partial(engine.embed, one, SKETCH) for name, engine in engines.items()})
    print(f"{len(photos)} photos and {len(sketches)} sketches of {side} px, {usable_cores()} cores, torch {torch.__version__}")
    print(f"{'':28}{'photos/s':>10}{'times':>7}{'query ms':>10}{'times':>7}{'files/s':>9}{'top-20':>8}{'MB':>7}")
    queries = engines[EAGER].embed(sketches, SKETCH)
    expected = nearest(queries, engines[EAGER], photos)
    for name, engine in engines.items():
        rates = f"{AT_ONCE / many[name]:>10.1f}{many[EAGER] / many[name]:>7.2f}"
        query = f"{single[name] * 1e3:>10.1f}{single[EAGER] / single[name]:>7.2f}"
        files, same = files_per_second(engine, options.photos), overlap(expected, nearest(queries, engine, photos))
        command = [
            sys.executable,
            __file__,
            *sys.argv[1:],
            "--peak",
            name,
            "--checkpoint",
            str(options.checkpoint),
            "--image_size",
            str(side),
        ]
        memory = subprocess.run([*command, "--kept", str(options.kept)], capture_output=True, text=True, check=True).stdout
        print(f"{name:28}{rates}{query}{files:>9.1f}{same:>8.3f}{memory.strip():>7}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=path_argument, help="default: a new cse_resnet50")
    parser.add_argument("--photos", type=path_argument, help="folder; default: drawn ones")
    parser.add_argument("--sketches", type=path_argument, help="folder; default: drawn ones")
    parser.add_argument("--every", type=positive_int, default=1, help="use every Nth photo and sketch for top-20")
    parser.add_argument("--image_size", type=image_side, default=None, help="default: as the checkpoint records, else 224")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    parser.add_argument("--kept", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dsn-benchmark-") as folder:
        options.kept = options.kept or Path(folder) / "engine"
        if options.peak:
            kept = kept_engine(options.kept, str(options.checkpoint), options.image_size, options.peak.rpartition(" ")[2])
            engine = kept if options.peak.startswith("OpenVINO") and kept else opened(options.peak, options)
            engine.embed(np.zeros((AT_ONCE, *[engine.preprocessing.image_size] * 2, 3), np.uint8), PHOTO)
            print(peak_megabytes())
            return
        if options.checkpoint is None:
            torch.manual_seed(0)
            options.checkpoint = Path(folder) / "new.pth.tar"
            torch.save({"epoch": 0, "state_dict": Student(64, 48).state_dict()}, options.checkpoint)
        if (options.photos is None) != (options.sketches is None):
            raise InputError("--photos and --sketches: name both, or neither")
        if options.photos is None:
            drawn = draw_dataset(Path(folder), Settings(photos_per_class=6, sketches_per_class=1, held_out_per_class=1))
            options.photos, options.sketches = drawn / SKETCHY.photo_folder, drawn / SKETCHY.sketch_folder
        table(options)


if __name__ == "__main__":
    with report_errors():
        main()
