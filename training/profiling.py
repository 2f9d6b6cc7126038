"""`--profile`: PyTorch's profiler over a few training steps."""

import itertools
import os
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

from datasets.batches import MixedBatches
from training.step import TrainingStep
from utils.devices import finished
from utils.files import atomic_write

WARM_UP, MEASURED, ROWS = 3, 5, 20


def profile_steps(step: TrainingStep, batches: MixedBatches, epoch: int, folder: Path) -> str:
    """Profile a few steps of the epoch, write their trace into `folder`, and return the profiler's table.

    Libraries choose their algorithms in the first steps, which are not measured. Raises InputError if nothing can be written.
    """
    rank, on_gpu = step.distributed.rank, step.device.type == "cuda"
    trace = folder / (f"profile.rank{rank}.json.gz" if rank else "profile.json.gz")
    warm_up = min(WARM_UP, len(batches) - 1)
    numbered = enumerate(batches.of_epoch(epoch), start=1)
    step.student.train()
    for number, batch in itertools.islice(numbered, warm_up):
        step(batch, epoch, number)
    finished(step.device)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler's library prints log lines
    with profile(activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu) as profiler:
        for number, batch in itertools.islice(numbered, MEASURED):
            step(batch, epoch, number)
        finished(step.device)
    with atomic_write(trace) as temporary:
        profiler.export_chrome_trace(str(temporary))
    by = "device_time_total" if on_gpu else "cpu_time_total"
    table = profiler.key_averages().table(sort_by=by, row_limit=ROWS, max_name_column_width=40)
    return f"{table}\ntrace: {trace} (open it at https://ui.perfetto.dev)"
