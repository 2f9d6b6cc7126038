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
from photo_search.encoder import Network, open_network
from photo_search.folder import IndexFolder
from synthetic.pictures import draw_photo
from synthetic.shapes import SEEN
from utils.devices import resolve_workers
from utils.errors import report_errors
from utils.parser import image_side, non_negative_int, positive_int

BATCH = 64


def untrained(file: Path, device: str, image_size: int) -> Network:
    torch.manual_seed(0)
    model = nn.Module()
    model.module = Student(64, 100)
    torch.save({"state_dict": model.state_dict(), "best_acc1": 0.0, "epoch": 0}, file)
    return open_network(file, device, image_size)


def measure(title: str, work: Callable, count: int) -> None:
    started = time.perf_counter()
    work()
    print(f"{title:32}{count / (time.perf_counter() - started):10.1f} photos/s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=positive_int, default=1000)
    parser.add_argument("--image_size", type=image_side, default=224)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--num_workers", type=non_negative_int, default=None)
    options = parser.parse_args()
    count, side = options.photos, options.image_size
    with tempfile.TemporaryDirectory() as aside:
        paths = [Path(aside, f"{number}.jpg") for number in range(count)]
        for number, path in enumerate(paths):
            draw_photo(SEEN[number % len(SEEN)], number).save(path, quality=88)
        network = untrained(Path(aside, "network.pth"), options.device, side)
        workers = resolve_workers(options.num_workers, network.device)
        batch = np.stack([decode(path, side) for path in paths[:BATCH]])
        network.embed_photos(batch)
        folder = IndexFolder(Path(aside, "index"), make=True)
        folder.belong_to(network)
        print(f"{count} photos of 256 px at {side} px on {network.device}, {torch.get_num_threads()} threads")
        measure("decoding alone, one process", lambda: [decode(path, side) for path in paths], count)
        measure("network alone", lambda: [network.embed_photos(batch[: count - at]) for at in range(0, count, BATCH)], count)
        measure(f"indexing, {workers} decoding", lambda: indexing.update(folder, network, [Path(aside)], BATCH, workers), count)


if __name__ == "__main__":
    with report_errors():
        main()
