"""One training step, ours beside its floor and a plain eager float32 step.

python benchmarks/training_step.py                           # Sketchy's default step: 96 images, 288 views of 224 px
python benchmarks/training_step.py --compile                 # the compiled network as well
python benchmarks/training_step.py --device cpu --image_size 64

The floor is what PyTorch takes for the network alone, uncompiled, in this precision: the bare student's forward and backward
pass over the step's views, and the teacher's forward pass over its photos.
"""

import contextlib
import functools
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import training.step
from benchmarks.setting import Setting, machine, milliseconds, parser, setting, side_by_side
from datasets.batches import Batch
from models.cse_resnet import PHOTO
from training.step import TrainingStep
from utils.devices import autocast
from utils.errors import report_errors


class Phases:
    """In place of `record_function`: measures how long each named part of a step takes.

    On a GPU that is the time from its first kernel to the next part's. Nothing waits for the device before `milliseconds`.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.spans: list[tuple[str, Any, Any]] = []

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        started = self._now()
        yield
        self.spans.append((name, started, self._now()))

    def milliseconds(self) -> dict[str, float]:
        """Total time of each part."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        totals: dict[str, float] = {}
        for name, started, ended in self.spans:
            taken = started.elapsed_time(ended) if self.device.type == "cuda" else (ended - started) * 1e3
            totals[name] = totals.get(name, 0.0) + taken
        return totals

    def _now(self) -> Any:  # seconds, or on a GPU an event
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event


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


def main() -> None:
    arguments = parser(__doc__.splitlines()[0], steps=5)
    arguments.add_argument("--compile", action="store_true", help="measure the compiled network too; compiling takes minutes")
    options = arguments.parse_args()
    with setting(options) as it:
        batch = it.batch_at_hand()
        works = {"floor: bare student, bare teacher": floor(it, batch), "our step": ours(it.step(), batch)}
        if options.compile:
            works["our step, --compile"] = ours(it.step(compile=True), batch)
            seconds = milliseconds(works["our step, --compile"], it.device, 1, warm_up=0) / 1e3
            print(f"compiling: {seconds:.0f} s in the first step", flush=True)
        works["plain eager float32 step"] = plain(it, batch)
        taken = side_by_side(works, it.device, options.steps)
        measured = Phases(it.device)
        with mock.patch.object(training.step, "record_function", measured):
            for _ in range(options.steps):
                works["our step"]()
        phases = {f"  {name}": total / options.steps for name, total in measured.milliseconds().items()}
        size = f"{len(batch.labels)} images, {3 * len(batch.labels)} views of {options.image_size} px"
        print(f"{size}; {machine(it.device, options.amp)}")
        print(f"{'':36}{'ms':>10}{'of floor':>10}{'of step':>10}")
        least, step = list(taken.values())[:2]
        for name, value in (taken | phases).items():
            print(f"{name:36}{value:>10.1f}{value / least:>10.3f}{value / step:>10.3f}")


if __name__ == "__main__":
    with report_errors():
        main()
