"""Training images a second from one worker process, ours beside the plain per-image pipeline, and the views on the device.

python benchmarks/data.py                  # 256-px files for a network of 224 px
python benchmarks/data.py --device cuda    # views on the GPU
"""

import collections
import sys
import time
from pathlib import Path

from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.plain import PlainImages
from benchmarks.setting import Setting, machine, milliseconds, parser, setting
from datasets.views import ThreeViews
from utils.errors import InputError, report_errors

AHEAD = 3  # one batch in the making and two waiting, as a DataLoader with one worker has


def images_per_second(batches, batch_size: int) -> float:
    """Over all batches but the first ones, which waited for the worker to start or were made meanwhile."""
    remaining = iter(batches)
    for _ in range(AHEAD):
        next(remaining)
    started = time.perf_counter()
    count = sum(1 for _ in remaining)
    return count * batch_size / (time.perf_counter() - started)


def plain_rate(it: Setting) -> float:
    batches = it.batches(num_workers=1)
    plain = PlainImages(batches.images.paths, batches.images.labels, it.config.data.image_size)
    return images_per_second(
        DataLoader(plain, batch_sampler=list(batches.order), num_workers=1), it.config.optimisation.batch_size
    )


def our_rate(it: Setting) -> float:
    batches = it.batches(num_workers=1)
    collections.deque(batches.of_epoch(0), maxlen=0)  # fills the system's file cache
    return images_per_second(batches.of_epoch(1), it.config.optimisation.batch_size)


def main() -> None:
    options = parser(__doc__.splitlines()[0], steps=30).parse_args()
    if options.steps < 3 * AHEAD:
        raise InputError(f"--steps {options.steps}: too few to measure the worker by; use at least {3 * AHEAD}")
    with setting(options) as it:
        plain = plain_rate(it)
        rates = {"plain: decode, warp, three views": plain, "ours: uint8 only": our_rate(it)}
        batch = next(it.batches(num_workers=0).of_epoch(0)).images
        on_device = batch.to(it.device)
        views = ThreeViews(it.config.data.image_size, 0)
        taken = milliseconds(lambda: views(on_device, 0, 0), it.device, 10)
        print(machine(it.device, "off"))
        print(f"{'one worker process':40}{'images/s':>10}{'times':>8}")
        for name, rate in rates.items():
            print(f"{name:40}{rate:>10.0f}{rate / plain:>8.1f}")
        print(
            f"warp and three views of {len(batch)} images on the device: {taken:.1f} ms, {len(batch) / taken * 1e3:,.0f} images/s"
        )


if __name__ == "__main__":
    with report_errors():
        main()
