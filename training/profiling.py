"""`--profile`: a few steps of a run, their trace for a viewer and a summary for a screen."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch.autograd import DeviceType
from torch.autograd.profiler_util import EventList
from torch.profiler import ProfilerActivity, profile

from datasets.batches import Batch
from training.step import Learner
from utils.devices import finished
from utils.files import atomic_write
from utils.phases import MeasuredPhases, waited_for
from utils.ram import peak_memory

WARM_UP, MEASURED, OPERATIONS = 3, 5, 8


def profile_steps(
    batches: Iterator[Batch], count: int, step: Callable[[Batch, int], None], learner: Learner, folder: Path
) -> str:
    """Run `step(batch, number)` on a few of `count` batches; write their trace into `folder`; the summary as text.

    The warm-up goes unmeasured, since libraries choose their algorithms in it. With fewer batches, fewer are measured.
    """
    place = folder / ("profile.json.gz" if learner.distributed.is_main else f"profile.rank{learner.distributed.rank}.json.gz")
    warm_up = min(WARM_UP, count - 1)
    measured = min(MEASURED, count - warm_up)
    numbered = iter(enumerate(waited_for(batches, lambda phase: learner.phase(phase)), start=1))
    for _ in range(warm_up):
        number, batch = next(numbered)
        step(batch, number)
    before, learner.phase = learner.phase, MeasuredPhases(learner.device)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler's library reports on itself between our lines
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (learner.device.type == "cuda")
    started = finished(learner.device)
    with profile(activities=activities) as trace:
        for _ in range(measured):
            number, batch = next(numbered)
            step(batch, number)
        seconds = finished(learner.device) - started
    phases, learner.phase = learner.phase.milliseconds(), before
    with atomic_write(place) as temporary:
        trace.export_chrome_trace(str(temporary))
    summary = phase_table(phases, seconds * 1e3, measured)
    images = len(batch.labels) * measured / seconds
    return (
        f"{summary}\n\n{_slowest(trace.key_averages(), learner.device, measured)}\n\n"
        f"{images:.1f} images/s over {measured} steps (the profiler's own cost included); peak memory: "
        f"{peak_memory(learner.device)}\ntrace: {place} (open it at https://ui.perfetto.dev)"
    )


def phase_table(phases: dict[str, float], total: float, steps: int) -> str:
    """Phases in ms over `steps` steps that took `total` ms → a table of ms a step and shares."""
    rows = [*phases.items(), ("between the phases", max(total - sum(phases.values()), 0.0)), ("step", total)]
    lines = [f"{'':24}{'ms a step':>12}{'share':>8}"]
    lines += [f"{name:24}{time / steps:>12.2f}{time / total:>8.1%}" for name, time in rows]
    return "\n".join(lines)


def _slowest(operations: EventList, device: torch.device, steps: int) -> str:
    on_gpu = device.type == "cuda"
    own = (lambda row: row.self_device_time_total) if on_gpu else (lambda row: row.self_cpu_time_total)
    called = [
        row for row in operations if row.device_type == DeviceType.CPU and not row.is_user_annotation
    ]  # not their kernels too
    slowest = sorted(called, key=own, reverse=True)[:OPERATIONS]
    lines = [f"{'slowest operations':50}{'calls a step':>14}{'ms a step':>12}"]
    lines += [f"{row.key[:48]:50}{row.count / steps:>14.1f}{own(row) / 1e3 / steps:>12.2f}" for row in slowest]
    return "\n".join(lines)
