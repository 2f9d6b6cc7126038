"""An epoch's wall time with the loader running, beside its steps with a batch at hand, and the plain way's epoch.

python benchmarks/epoch.py                           # Sketchy's default step, 20 of them, 224 px
python benchmarks/epoch.py --device cpu --image_size 64 --steps 10
"""

import collections
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.setting import Setting, seconds, setting
from utils.errors import report_errors
from utils.ram import peak_memory


def steps_alone(it: Setting, steps: int) -> float:
    """Seconds of `steps` steps on one batch at hand."""
    step, batch = it.step(), it.batch_at_hand()
    step(batch, 0, 1)
    return seconds(lambda: [step(batch, 0, number + 1) for number in range(steps)], it.device)


def our_epoch(it: Setting) -> float:
    """Seconds of the second epoch: the first starts the workers."""
    step, batches = it.step(), it.batches()
    batch = collections.deque(batches.of_epoch(0), maxlen=1)[0]
    step(batch, 0, 1)  # libraries choose their algorithms
    return seconds(it.trainer(step, batches, epochs=1).train_one_epoch, it.device)


def plain_epoch(it: Setting) -> float:
    """Seconds of an epoch of plain steps fed by the plain pipeline, its workers started beforehand."""
    step, loader = it.plain_step(), it.plain_loader(it.resources.num_workers)
    step(*collections.deque(loader, maxlen=1)[0])
    return seconds(lambda: [step(views, labels) for views, labels in loader], it.device)


def main() -> None:
    with setting(__doc__.splitlines()[0], steps=20, no_plain="leave the plain way out") as (it, options):
        taken = {"steps alone, a batch at hand": steps_alone(it, options.steps), "epoch": our_epoch(it)}
        memory = peak_memory(it.device)
        if not options.no_plain:
            taken["plain pipeline and step"] = plain_epoch(it)
        alone, images = next(iter(taken.values())), options.steps * it.batch_size
        size = f"{options.steps} steps of {it.batch_size} images of {it.image_size} px"
        print(f"{size}, {it.resources.num_workers} workers; {it.machine()}")
        print(f"{'':36}{'s':>10}{'images/s':>10}{'of steps':>10}")
        for name, value in taken.items():
            print(f"{name:36}{value:>10.1f}{images / value:>10.1f}{value / alone:>10.3f}")
        print(f"peak memory of ours: {memory}")


if __name__ == "__main__":
    with report_errors():
        main()
