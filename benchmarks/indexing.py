"""How fast photos are indexed, beside decoding alone and the network alone.

python benchmarks/indexing.py                                  # 1,000 drawn photos of 256 px, at 224 px
python benchmarks/indexing.py --photos 2000 --device cuda
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from datasets.images import decode
from models.dsn import Student
from photo_search import indexing
from photo_search.encoder import open_network
from photo_search.store import Store
from synthetic.pictures import draw_photo
from synthetic.shapes import SEEN
from utils.devices import resolve_workers
from utils.errors import report_errors
from utils.parser import image_side, non_negative_int, positive_int

BATCH = 64


def measure(title: str, work: Callable, count: int) -> None:
    started = time.perf_counter()
    work()
    print(f"{title:32}{count / (time.perf_counter() - started):10.1f} photos/s", flush=True)


def compare(folder: Path, count: int, side: int, device: str, num_workers: int | None) -> None:
    paths = [folder / f"{number}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        draw_photo(SEEN[number % len(SEEN)], number).save(path, quality=88)
    torch.save({"state_dict": nn.ModuleDict({"module": Student(64, 100)}).state_dict()}, folder / "network.pth")
    network = open_network(folder / "network.pth", device, side)
    workers = resolve_workers(num_workers, network.device)
    batch = np.stack([decode(path, side) for path in paths[:BATCH]])
    network.embed_photos(batch)
    index = Store(folder / "index", make=True)
    index.belong_to(network)
    print(f"{count} photos of 256 px at {side} px on {network.device}, {torch.get_num_threads()} threads")
    measure("decoding alone, one process", lambda: [decode(path, side) for path in paths], count)
    measure("network alone", lambda: [network.embed_photos(batch[: count - at]) for at in range(0, count, BATCH)], count)
    measure(f"indexing, {workers} decoding", lambda: indexing.update(index, network, [folder], BATCH, workers), count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=positive_int, default=1000)
    parser.add_argument("--image_size", type=image_side, default=224)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--num_workers", type=non_negative_int, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), options.photos, options.image_size, options.device, options.num_workers)


if __name__ == "__main__":
    with report_errors():
        main()
