"""Training images per second from one worker process, beside the plain per-image pipeline, and the time of the views.

python benchmarks/data.py                  # 256-px files for a network of 224 px
python benchmarks/data.py --device cuda    # views on the GPU
"""

import collections
import itertools
import sys
import time
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.setting import setting, side_by_side
from datasets.views import ThreeViews
from utils.errors import report_errors

PREFETCHED = 3  # batches of a DataLoader with one worker: two finished and one in work


def images_per_second(batches: Iterable, batch_size: int) -> float:
    """The rate over all batches but the first PREFETCHED, which the worker makes while nobody measures."""
    remaining = iter(batches)
    collections.deque(itertools.islice(remaining, PREFETCHED), maxlen=0)
    started = time.perf_counter()
    count = sum(1 for _ in remaining)
    return count * batch_size / (time.perf_counter() - started)


def main() -> None:
    with setting(__doc__.splitlines()[0], steps=30, least=3 * PREFETCHED) as (it, _):
        plain = images_per_second(it.plain_loader(num_workers=1), it.batch_size)
        batches = it.batches(num_workers=1)
        collections.deque(batches.of_epoch(0), maxlen=0)  # fills the system's file cache
        ours = images_per_second(batches.of_epoch(1), it.batch_size)
        images = it.batch_at_hand().images.to(it.device)
        views = ThreeViews(it.image_size, seed=0)
        taken = side_by_side({"views": lambda: views(images, 0, 0)}, it.device, 10)["views"]
        print(f"{it.machine('off')}\n{'one worker process':40}{'images/s':>10}{'times':>8}")
        for name, rate in {"plain: decode, warp, three views": plain, "ours: uint8 only": ours}.items():
            print(f"{name:40}{rate:>10.0f}{rate / plain:>8.1f}")
        rate = len(images) / taken * 1e3
        print(f"warp and three views of {len(images)} images on the device: {taken:.1f} ms, {rate:,.0f} images/s")


if __name__ == "__main__":
    with report_errors():
        main()
