"""How fast photos are indexed, beside the bare network on images that are in memory already.

python benchmarks/indexing.py                                  # 1,000 drawn photos of 256 px, at 224 px
python benchmarks/indexing.py --photos 2000 --device cuda

Three rows: decoding alone, the network alone, and `search.py index` as it is, whose work is both and the keeping of it.
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
from photo_search.collecting import collect
from photo_search.encoder import open_network
from photo_search.folder import IndexFolder
from synthetic.pictures import draw_photo
from synthetic.shapes import SEEN
from utils.devices import resolve_workers
from utils.errors import report_errors
from utils.parser import image_side, non_negative_int, positive_int

BATCH = 64


def write_photos(folder: Path, count: int) -> None:
    for number in range(count):
        draw_photo(SEEN[number % len(SEEN)], number).save(folder / f"{number}.jpg", quality=88)


def untrained(file: Path) -> Path:
    torch.manual_seed(0)
    model = nn.Module()
    model.module = Student(64, 100)
    torch.save({"state_dict": model.state_dict(), "best_acc1": 0.0, "epoch": 0}, file)
    return file


def rate(work: Callable, count: int) -> float:
    """Photos a second."""
    started = time.perf_counter()
    work()
    return count / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=positive_int, default=1000)
    parser.add_argument("--image_size", type=image_side, default=224)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--num_workers", type=non_negative_int, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as aside:
        photos = Path(aside, "photos")
        photos.mkdir()
        write_photos(photos, options.photos)
        network = open_network(untrained(Path(aside, "network.pth")), options.device, options.image_size)
        workers = resolve_workers(options.num_workers, network.device)
        paths = list(collect([photos]).photos)
        batch = np.stack([decode(path, network.side) for path in paths[:BATCH]])
        network.embed_photos(batch)
        folder = IndexFolder(Path(aside, "index"), make=True)
        folder.belong_to(network)
        rows = {
            "decoding alone, one process": lambda: [decode(path, network.side) for path in paths],
            "the network alone": lambda: [network.embed_photos(batch[: len(paths) - at]) for at in range(0, len(paths), BATCH)],
            f"indexing, {workers} decoding": lambda: indexing.update(folder, network, [photos], BATCH, workers),
        }
        print(f"{options.photos} photos of 256 px at {network.side} px on {network.device}, {torch.get_num_threads()} threads")
        for title, work in rows.items():
            print(f"{title:32}{rate(work, len(paths)):10.1f} photos/s", flush=True)


if __name__ == "__main__":
    with report_errors():
        main()
