"""One training step, ours beside its floor and a plain eager float32 step.

python benchmarks/training_step.py                           # Sketchy's default step: 96 images, 288 views of 224 px
python benchmarks/training_step.py --compile                 # the compiled network as well
python benchmarks/training_step.py --device cpu --image_size 64

The floor is what PyTorch takes for the network alone, uncompiled, in this precision: the bare student's forward and backward
pass over the step's views, and the teacher's forward pass over its photos.
"""

import functools
import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.setting import Setting, machine, milliseconds, parser, setting, side_by_side
from datasets.batches import Batch
from models.cse_resnet import PHOTO
from training.build import optimizer
from training.step import Learner, take_step
from utils.devices import autocast
from utils.errors import report_errors
from utils.phases import MeasuredPhases


def floor(it: Setting, batch: Batch, sketches: int) -> Callable[[], None]:
    """The student's forward and backward pass and the teacher's forward pass, on views made beforehand."""
    learner = it.learner()
    views = torch.cat(learner.views(batch.images.to(it.device), 0, 0)).contiguous(memory_format=torch.channels_last)
    tags = torch.full((len(views),), PHOTO, device=it.device)
    photos = views[sketches : len(batch.labels)]

    def bare() -> None:
        with autocast(it.device, it.options.amp):
            output = learner.student(views, tags)
            learner.teacher(photos, tags[: len(photos)])
        learner.student.zero_grad(set_to_none=True)
        sum(part.float().mean() for part in output).backward()

    return bare


def ours(it: Setting, learner: Learner, batch: Batch, sketches: int) -> Callable[[], object]:
    """A whole step from a batch on the host."""
    adam, number = optimizer(learner.student, it.options), itertools.count()
    return lambda: take_step(learner, adam, batch, sketches, 0, next(number))


def plain(it: Setting, batch: Batch, sketches: int) -> Callable[[], object]:
    """The plain step, on views made beforehand."""
    views = torch.stack(it.learner().views(batch.images.to(it.device), 0, 0), dim=1).cpu()
    return functools.partial(it.plain_step(sketches), views, batch.labels)


def main() -> None:
    arguments = parser(__doc__.splitlines()[0], steps=5)
    arguments.add_argument("--compile", action="store_true", help="measure the compiled network too; compiling takes minutes")
    options = arguments.parse_args()
    with setting(options) as it:
        batch, sketches = it.batch_at_hand(), it.batches().shares[0]
        learner = it.learner()
        works = {"floor: bare student, bare teacher": floor(it, batch, sketches), "our step": ours(it, learner, batch, sketches)}
        if options.compile:
            works["our step, --compile"] = ours(it, it.learner(compile=True), batch, sketches)
            seconds = milliseconds(works["our step, --compile"], it.device, 1, warm_up=0) / 1e3
            print(f"compiling: {seconds:.0f} s in the first step", flush=True)
        works["plain eager float32 step"] = plain(it, batch, sketches)
        taken = side_by_side(works, it.device, options.steps)
        learner.phase = MeasuredPhases(it.device)
        for _ in range(options.steps):
            works["our step"]()
        phases = {f"  {name}": total / options.steps for name, total in learner.phase.milliseconds().items()}
        size = f"{len(batch.labels)} images, {3 * len(batch.labels)} views of {it.options.image_size} px"
        print(f"{size}; {machine(it.device, options.amp)}")
        print(f"{'':36}{'ms':>10}{'of floor':>10}{'of step':>10}")
        least, step = list(taken.values())[:2]
        for name, value in (taken | phases).items():
            print(f"{name:36}{value:>10.1f}{value / least:>10.3f}{value / step:>10.3f}")


if __name__ == "__main__":
    with report_errors():
        main()
