"""An epoch's wall time with the loader running, beside its steps with a batch at hand, and the plain way's epoch.

python benchmarks/epoch.py                           # Sketchy's default step, 20 of them, 224 px
python benchmarks/epoch.py --device cpu --image_size 64 --steps 10
"""

import collections
import sys
from pathlib import Path

from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.plain import PlainImages
from benchmarks.setting import Setting, machine, parser, setting
from utils.devices import finished
from utils.errors import report_errors
from utils.ram import peak_memory


def steps_alone(it: Setting, steps: int) -> float:
    """Seconds of `steps` steps on one batch at hand."""
    step, batch = it.step(), it.batch_at_hand()
    step(batch, 0, 1)
    started = finished(it.device)
    for number in range(steps):
        step(batch, 0, number + 1)
    return finished(it.device) - started


def our_epoch(it: Setting) -> float:
    """Seconds of the second epoch: the first starts the workers."""
    step, batches = it.step(), it.batches()
    batch = collections.deque(batches.of_epoch(0), maxlen=1)[0]
    step(batch, 0, 1)  # libraries choose their algorithms
    started = finished(it.device)
    it.trainer(step, batches, epochs=1).train_one_epoch()
    return finished(it.device) - started


def plain_epoch(it: Setting, steps: int) -> float:
    """Seconds of `steps` plain steps fed by the plain pipeline, its workers started beforehand."""
    batches = it.batches()
    step = it.plain_step()
    images = PlainImages(batches.images.paths, batches.images.labels, it.config.data.image_size)
    loader = DataLoader(
        images,
        batch_sampler=list(batches.order),
        num_workers=it.resources.num_workers,
        persistent_workers=it.resources.num_workers > 0,
    )
    step(*collections.deque(loader, maxlen=1)[0])
    started = finished(it.device)
    for views, labels in loader:
        step(views, labels)
    return finished(it.device) - started


def main() -> None:
    arguments = parser(__doc__.splitlines()[0], steps=20)
    arguments.add_argument("--no_plain", action="store_true", help="leave the plain way out")
    options = arguments.parse_args()
    with setting(options) as it:
        alone = steps_alone(it, options.steps)
        rows = [("steps alone, a batch at hand", alone)]
        rows.append(("epoch", our_epoch(it)))
        memory = peak_memory(it.device)
        if not options.no_plain:
            rows.append(("plain pipeline and step", plain_epoch(it, options.steps)))
        print(
            f"{options.steps} steps of {options.batch_size} images of {options.image_size} px, "
            f"{it.resources.num_workers} workers; {machine(it.device, options.amp)}"
        )
        print(f"{'':36}{'s':>10}{'images/s':>10}{'of steps':>10}")
        for name, seconds in rows:
            rate = options.steps * options.batch_size / seconds
            print(f"{name:36}{seconds:>10.1f}{rate:>10.1f}{seconds / alone:>10.3f}")
        print(f"peak memory of ours: {memory}")


if __name__ == "__main__":
    with report_errors():
        main()
