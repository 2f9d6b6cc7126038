"""The project's one DataLoader: worker processes that decode, however little room /dev/shm has.

PyTorch hands tensors from a worker process to the main process through files in /dev/shm, which a container may limit to 64 MB:
a batch that finds no room there is lost, and the main process waits forever. Here a batch travels in an anonymous file of
memory (`memfd_create`), which /dev/shm does not limit; only the semaphores of the queues are in there, a page (4 KiB) each.
"""

import atexit
import contextlib
import functools
import mmap
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from multiprocessing.reduction import DupFd
from multiprocessing.util import get_temp_dir
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info
from tqdm import tqdm

from datasets.image_files import Batch, as_batch
from utils.signals import leave_signals_to_main_process

SEMAPHORES = 8  # of a DataLoader with workers: a queue of results (3) and an event that ends them (5)
SEMAPHORES_PER_WORKER = 3  # of its queue of tasks


class Loading:
    """Iterates over what `dataset.__getitems__` returns, batch by batch, in the order of `batches`.

    batches: how many rows a batch takes, or an iterable over the rows of each batch, iterated once for each pass.
    num_workers: processes that decode, 0 for the main process. Where /dev/shm has room for fewer, or processes cannot be
    started, fewer decode, down to none, and one line says so. persistent: the processes stay from one pass to the next.
    """

    def __init__(
        self,
        dataset: Dataset,
        batches: int | Sampler[list[int]],
        num_workers: int,
        *,
        pin_memory: bool = False,
        persistent: bool = False,
    ):
        self.dataset, self.num_workers, self.pin_memory, self.persistent = dataset, num_workers, pin_memory, persistent
        self.batches = {"batch_size": batches} if isinstance(batches, int) else {"batch_sampler": batches}
        self._loader: DataLoader | None = None

    def __iter__(self) -> Iterator[Any]:
        if self._loader is None or not self.persistent:
            self._loader = self._with(room_for_workers(self.num_workers) if self.num_workers else 0)
        try:
            return iter(self._loader)
        except OSError as error:  # of queues or processes; images are not read yet
            _say_fewer(self.num_workers, 0, error.strerror or str(error))
            self._loader = self._with(0)
            return iter(self._loader)

    def _with(self, workers: int) -> DataLoader:
        if workers:
            _prepare_for_workers()
        return DataLoader(
            self.dataset,
            num_workers=workers,
            pin_memory=self.pin_memory,
            persistent_workers=self.persistent and workers > 0,
            collate_fn=hand_over,
            worker_init_fn=leave_signals_to_main_process,
            **self.batches,
        )


def room_for_workers(wanted: int) -> int:
    """How many of the `wanted` worker processes can have their semaphores now; prints a line if fewer."""
    held, reason = [], ""
    try:
        for _ in range(SEMAPHORES + SEMAPHORES_PER_WORKER * wanted):
            held.append(multiprocessing.Lock())
    except (ImportError, OSError) as error:  # ImportError: a Python without semaphores
        reason = getattr(error, "strerror", None) or str(error)
    workers = max(0, len(held) - SEMAPHORES) // SEMAPHORES_PER_WORKER
    if workers < wanted:
        _say_fewer(wanted, workers, reason)
    return workers


@functools.cache
def _say_fewer(wanted: int, workers: int, reason: str) -> None:
    """Once, not for each pass over a list."""
    who = f"{workers} of {wanted} worker processes decode" if workers else "the main process decodes the images"
    tqdm.write(  # a progress bar may be there
        f"note: /dev/shm has no room for --num_workers {wanted} ({reason}), so {who}; "
        "give it more (Docker: --shm-size=1g), or set --num_workers lower"
    )


@functools.cache
def _prepare_for_workers() -> None:
    """Before the first workers start: the program will leave neither them nor their sockets' folder behind."""
    with contextlib.suppress(OSError):
        get_temp_dir()  # of all workers, removed by the main process; a worker that is killed cannot remove its own
    atexit.register(_kill_workers)


def _kill_workers() -> None:
    """At the program's end. A worker that is stuck, in a dead network drive say, would keep the program from ending."""
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler takes a killed worker for an error
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


def hand_over(batch: Any) -> Any:
    """For a DataLoader: the dataset has put the batch together already; a worker sends it in an anonymous file."""
    if get_worker_info() is None or not isinstance(batch, Batch) or not hasattr(os, "memfd_create"):
        return batch
    return _Sent(batch)


class _Sent:
    """A batch on its way from a worker; unpickled in the main process it is the `Batch` again."""

    def __init__(self, batch: Batch):
        pixels, self.labels = batch.images.permute(0, 2, 3, 1).numpy(), batch.labels.numpy()
        self.shape = pixels.shape
        self.pixels: Callable | np.ndarray = _in_anonymous_file(pixels)

    def __reduce__(self) -> tuple[Callable, tuple]:
        return _received, (self.pixels, self.shape, self.labels)


def _in_anonymous_file(pixels: np.ndarray) -> Any:
    """A handle on a copy; the array itself, which travels through a pipe, where the system gives no such file or handle.

    Made here, and not while the queue pickles, since an error there would lose the batch.
    """
    try:
        descriptor = os.memfd_create("batch")
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(np.ascontiguousarray(pixels))
            return DupFd(descriptor)
        finally:
            os.close(descriptor)
    except OSError:  # no memory or descriptors left, a sandbox that forbids it, no folder for the handle's socket
        return pixels


def _received(pixels: Any, shape: tuple[int, ...], labels: np.ndarray) -> Batch:
    if not isinstance(pixels, np.ndarray):
        descriptor = pixels.detach()
        try:
            memory = mmap.mmap(descriptor, int(np.prod(shape)), flags=mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0))
        finally:
            os.close(descriptor)
        pixels = np.frombuffer(memory, np.uint8).reshape(shape)
    return as_batch(pixels, labels)
