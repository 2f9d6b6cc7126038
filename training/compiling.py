"""`--compile`: the student of a training step as compiled code, where the steps left repay the time of compiling it."""

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from datasets.batches import MixedBatches, as_batch
from models.convolution import use_matrix_products
from models.names import CSE_RESNET50
from training.config import TrainConfig
from training.state import TrainingState
from training.step import TrainingStep
from utils.errors import InputError
from utils.seeding import random_state, restore_random_state
from utils.text import one_line

# `auto` compiles on a CPU if the steps left take at least so many million pixels of network input (views × side²) per thread. On
# two threads of a Xeon with AMX, compiling takes 93 s and saves 0.7 s per million (bfloat16, 64 px; float32 about 0.5 s): repaid
# after 65 or 90 million per thread; see benchmarks/README.md. On a GPU, where nothing has been measured, it does not compile.
PER_THREAD = {"bf16": 150, "off": 250}
CACHE = "TORCHINDUCTOR_CACHE_DIR"  # PyTorch's variable


def compile_step(step: TrainingStep, batches: MixedBatches, state: TrainingState, config: TrainConfig) -> bool:
    """Compile the student's forward and backward pass as `--compile` says, and return whether they are compiled.

    `auto` goes on as the run so far was computed, and compiles a new run if its steps repay it. What cannot be compiled stays
    as it is, and one line says so. Raises InputError if that happens to several processes after they have begun together.
    """
    is_compiled = _is_to_be_compiled(step, batches, state, config) and _compile(step, batches)
    if state.compiled is not None and is_compiled != state.compiled:
        before, now = ("compiled", "is not") if state.compiled else ("not compiled", "is")
        print(f"note: the run so far was {before}, and now it {now}: the last bits of its results change")
    return is_compiled


def _is_to_be_compiled(step: TrainingStep, batches: MixedBatches, state: TrainingState, config: TrainConfig) -> bool:
    choice = config.runtime.compile
    if choice != "auto":
        return choice == "on"
    if state.compiled is not None:  # else the resumed run would not end with the same bits
        return state.compiled
    if config.runtime.profile or step.distributed.world_size > 1 or config.model.arch != CSE_RESNET50:
        return False  # for several processes and other trunks the gain was not measured
    steps = (config.optimisation.epochs - state.epochs) * len(batches) - state.steps
    views = 3 if config.objective.contrastive_lambda > 0 else 1
    pixels = steps * sum(batches.per_batch) * views * config.image_size**2
    return pixels / 1e6 >= _least_megapixels(step)


def _least_megapixels(step: TrainingStep) -> float:
    return PER_THREAD[step.amp] * torch.get_num_threads() if step.device.type == "cpu" else float("inf")


def _compile(step: TrainingStep, batches: MixedBatches) -> bool:
    """Whether it worked. Each process gets the same answer."""
    print("compiling the network, which takes a minute or more (--compile off trains without) …", flush=True)
    _keep_compiled_code()
    started, uncompiled = time.monotonic(), step.forward
    failure = _failure_of(lambda: torch.compile(torch.sin)(torch.ones(2, device=step.device)))  # without a compiler, at once
    if step.distributed.any(failure is not None):
        return _not_compiled(failure)
    if step.device.type == "cpu":
        use_matrix_products(step.student)
    step.forward = torch.compile(uncompiled or step.student, dynamic=False)
    failure = _failure_of(lambda: _try_out(step, batches))
    if failure is None:
        print(f"compiled in {time.monotonic() - started:.0f} s", flush=True)
        return True
    if step.distributed.world_size > 1:  # the others may wait for this process within their step
        raise InputError(f"--compile: {_reason(failure)}; use --compile off") from failure
    step.forward = uncompiled
    return _not_compiled(failure)


def _failure_of(work: Callable[[], object]) -> Exception | None:
    try:
        work()
    except Exception as error:  # each backend raises its own kinds
        return error
    return None


def _not_compiled(failure: Exception | None) -> bool:
    reason = "another process cannot compile" if failure is None else _reason(failure)
    print(f"note: --compile: {reason}; training goes on uncompiled")
    return False


def _reason(failure: Exception) -> str:
    return one_line(str(failure).strip().split("\n\n")[0])[:160]


def _try_out(step: TrainingStep, batches: MixedBatches) -> None:
    """Compute the losses and gradients of a blank batch, because PyTorch compiles in the first call; change nothing else."""
    side, labels = batches.images.side, torch.zeros(sum(batches.per_batch), dtype=torch.int64)
    blank = as_batch(np.zeros((len(batches.order.local_positions), side, side, 3), np.uint8), np.zeros(0, np.int64))
    step.student.train()
    with _unchanged(step):
        step.weights.total(step.losses(blank._replace(labels=labels), epoch=0, number=1)).backward()


@contextlib.contextmanager
def _unchanged(step: TrainingStep) -> Iterator[None]:
    """Restore the buffers of student and memory bank and the random generators after the block, and drop the gradients."""
    buffers = [*step.student.buffers(), *step.bank.buffers()]
    saved, generators = [buffer.clone() for buffer in buffers], random_state(step.device)
    try:
        yield
    finally:
        for buffer, value in zip(buffers, saved, strict=True):
            buffer.copy_(value)
        restore_random_state(generators, step.device)
        step.optimizer.zero_grad(set_to_none=True)


def _keep_compiled_code() -> None:
    """Let PyTorch keep compiled code for later runs in a folder of this user alone, since it runs what it finds there.

    Each kind of processor has a folder: machines that share a home may not understand each other's code. A folder chosen by
    PyTorch's own variable stays, and where none can be made, PyTorch uses the temporary folder.
    """
    if CACHE in os.environ:
        return
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: there is no home
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = home / "dsn" / f"compiled-{_processor()}"
        if home.is_absolute():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if _is_private(folder):
                os.environ[CACHE] = str(folder)


def _is_private(folder: Path) -> bool:
    """Whether this user owns the folder, and nobody else may use it."""
    if not hasattr(os, "geteuid"):  # Windows: the home is the user's
        return True
    status = folder.lstat()
    return status.st_uid == os.geteuid() and status.st_mode & 0o077 == 0 and os.access(folder, os.W_OK)


def _processor() -> str:
    """A digest of the processor's instruction set."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        flags = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
        return hashlib.sha256("\n".join(sorted(flags)).encode()).hexdigest()[:12]
    return "here"
