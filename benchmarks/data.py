"""Training images per second from one worker process, beside the plain per-image pipeline, and the time of the views.

python benchmarks/data.py                  # 256-px files for a network of 224 px
python benchmarks/data.py --device cuda    # views on the GPU
"""

import collections
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.plain import PlainImages
from benchmarks.setting import machine, milliseconds, parser, setting
from datasets.views import ThreeViews
from utils.errors import InputError, report_errors

PREFETCHED = 3  # batches of a DataLoader with one worker: two finished and one in work


def images_per_second(batches: Iterable, batch_size: int) -> float:
    """The rate over all batches but the first PREFETCHED, which the worker makes while nobody measures."""
    remaining = iter(batches)
    for _ in range(PREFETCHED):
        next(remaining)
    started = time.perf_counter()
    count = sum(1 for _ in remaining)
    return count * batch_size / (time.perf_counter() - started)


def main() -> None:
    options = parser("Images per second from one worker process, and the time of the views.", steps=30).parse_args()
    if options.steps < 3 * PREFETCHED:
        raise InputError(f"--steps {options.steps}: too few to measure the worker; use at least {3 * PREFETCHED}")
    with setting(options) as it:
        batches = it.batches(num_workers=1)
        plain_images = PlainImages(batches.images.paths, batches.images.labels, options.image_size)
        plain = images_per_second(DataLoader(plain_images, batch_sampler=list(batches.order), num_workers=1), options.batch_size)
        collections.deque(batches.of_epoch(0), maxlen=0)  # fills the system's file cache
        ours = images_per_second(batches.of_epoch(1), options.batch_size)
        images = it.batch_at_hand().images.to(it.device)
        views = ThreeViews(options.image_size, seed=0)
        taken = milliseconds(lambda: views(images, 0, 0), it.device, 10)
        print(f"{machine(it.device, 'off')}\n{'one worker process':40}{'images/s':>10}{'times':>8}")
        for name, rate in {"plain: decode, warp, three views": plain, "ours: uint8 only": ours}.items():
            print(f"{name:40}{rate:>10.0f}{rate / plain:>8.1f}")
        rate = len(images) / taken * 1e3
        print(f"warp and three views of {len(images)} images on the device: {taken:.1f} ms, {rate:,.0f} images/s")


if __name__ == "__main__":
    with report_errors():
        main()
