"""One training step, ours beside its floor and a plain eager float32 step.

python benchmarks/training_step.py                           # Sketchy's default step: 96 images, 288 views of 224 px
python benchmarks/training_step.py --compile                 # the compiled network as well
python benchmarks/training_step.py --device cpu --image_size 64

The floor is what PyTorch takes for the network alone, uncompiled, in this precision: the bare student's forward and backward
pass over the step's views, and the teacher's forward pass over its photos.
"""

import collections
import contextlib
import functools
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import training.step
from benchmarks.setting import Setting, setting, side_by_side
from datasets.batches import Batch
from models.names import PHOTO
from training.step import TrainingStep
from utils.devices import autocast, finished
from utils.errors import report_errors


def floor(it: Setting, batch: Batch) -> Callable[[], None]:
    """The student's forward and backward pass and the teacher's forward pass, on views made beforehand."""
    step = it.step()
    views = torch.cat(step.views(batch.images.to(it.device), 0, 0)).contiguous(memory_format=torch.channels_last)
    domain = torch.full((len(views),), PHOTO, device=it.device)
    photos = views[step.sketches : len(batch.labels)]
    teacher = step.teacher
    assert teacher is not None

    def bare() -> None:
        with autocast(it.device, it.resources.amp):
            output = step.student(views, domain)
            teacher(photos, domain[: len(photos)])
        step.student.zero_grad(set_to_none=True)
        sum(part.float().mean() for part in output).backward()

    return bare


def ours(step: TrainingStep, batch: Batch) -> Callable[[], object]:
    """A whole step from a batch on the host."""
    number = itertools.count(1)
    return lambda: step(batch, 0, next(number))


def plain(it: Setting, batch: Batch) -> Callable[[], object]:
    """The plain step, on views made beforehand."""
    views = torch.stack(it.step().views(batch.images.to(it.device), 0, 0), dim=1).cpu()
    return functools.partial(it.plain_step(), views, batch.labels)


def phases(step: Callable[[], object], device: torch.device, times: int) -> dict[str, float]:
    """Mean milliseconds of each named part of a step. A GPU is waited for after each, so together they take a little longer."""
    taken = collections.defaultdict[str, float](float)

    @contextlib.contextmanager
    def timed(name: str) -> Iterator[None]:
        started = finished(device)
        yield
        taken[f"  {name}"] += (finished(device) - started) * 1e3 / times

    with mock.patch.object(training.step, "record_function", timed):
        for _ in range(times):
            step()
    return dict(taken)


def main() -> None:
    with setting(__doc__.splitlines()[0], steps=5, compile="measure the compiled network too") as (it, options):
        batch = it.batch_at_hand()
        works = {"floor: bare student, bare teacher": floor(it, batch), "our step": ours(it.step(), batch)}
        if options.compile:
            compiled = it.step()
            it.compile(compiled)
            works["our step, --compile"] = ours(compiled, batch)
        works["plain eager float32 step"] = plain(it, batch)
        taken = side_by_side(works, it.device, options.steps)
        least, step = list(taken.values())[:2]
        size = f"{len(batch.labels)} images, {3 * len(batch.labels)} views of {it.image_size} px"
        print(f"{size}; {it.machine()}\n{'':36}{'ms':>10}{'of floor':>10}{'of step':>10}")
        for name, value in (taken | phases(works["our step"], it.device, options.steps)).items():
            print(f"{name:36}{value:>10.1f}{value / least:>10.3f}{value / step:>10.3f}")


if __name__ == "__main__":
    with report_errors():
        main()
