"""The project's one DataLoader: worker processes that decode, however little room /dev/shm has.

PyTorch hands tensors from a worker process to the main process through files in /dev/shm, which a container may limit to 64 MB:
a batch that finds no room there is lost, and the main process waits forever. Here a batch travels in an anonymous file of
memory (`memfd_create`), which /dev/shm does not limit; only the semaphores of the queues are in there, a page (4 KiB) each.
"""

import atexit
import contextlib
import errno
import functools
import mmap
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.util import get_temp_dir
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info
from tqdm import tqdm

from datasets.image_files import Batch, as_batch
from utils.signals import kill_workers, leave_signals_to_main_process, signals_held

SEMAPHORES = 8  # of a DataLoader with workers: a queue of results (3) and an event that ends them (5)
SEMAPHORES_PER_WORKER = 3  # of its queue of tasks
_said: list[str] = []


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
        others = set(multiprocessing.active_children())
        try:
            with signals_held():  # until all processes are there, so that nothing half-made is interrupted
                return iter(self._loader)
        except OSError as error:  # of queues or processes; images are not read yet
            kill_workers(others)
            _forget(error)
            _say_once(
                f"note: worker processes cannot be started ({error.strerror or error}), so the main process decodes the images; "
                "allow more processes, or set --num_workers 0"
            )
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
    held, reason = [], None
    try:
        for _ in range(SEMAPHORES + SEMAPHORES_PER_WORKER * wanted):
            held.append(multiprocessing.Lock())
    except (ImportError, OSError) as error:  # ImportError: a Python without semaphores
        reason = error
    workers = max(0, len(held) - SEMAPHORES) // SEMAPHORES_PER_WORKER
    if reason is not None and workers < wanted:
        _say_fewer(wanted, workers, reason)
    return workers


def _say_fewer(wanted: int, workers: int, reason: OSError | ImportError) -> None:
    is_full = getattr(reason, "errno", None) in (errno.ENOSPC, errno.ENOMEM)
    fault = "has no room for" if is_full else "cannot be used for"
    advice = "give it more room (Docker: --shm-size=1g)" if is_full else "make it a folder that can be written"
    who = f"{workers} of {wanted} worker processes decode" if workers else "the main process decodes the images"
    text = getattr(reason, "strerror", None) or reason
    _say_once(f"note: /dev/shm {fault} --num_workers {wanted} ({text}), so {who}; {advice}, or set --num_workers lower")


def _say_once(note: str) -> None:
    """One note for a program, not for each pass over a list; a progress bar may be on the screen."""
    if not _said:
        _said.append(note)
        tqdm.write(note)


def _forget(error: BaseException) -> None:
    """Drop a DataLoader's iterator that failed to start and what it holds; its own `__del__` fails on what it lacks."""
    before, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        traceback.clear_frames(error.__traceback__)
    finally:
        sys.unraisablehook = before


@functools.cache
def _prepare_for_workers() -> None:
    """Before the first workers start: the program will leave neither them nor their sockets' folder behind."""
    with contextlib.suppress(OSError):
        get_temp_dir()  # of all workers, removed by the main process; a worker that is killed cannot remove its own
    atexit.register(kill_workers)  # one that is stuck, in a dead network drive say, would keep the program from ending


def hand_over(batch: Any) -> Any:
    """For a DataLoader: the dataset has put the batch together already; a worker sends it in an anonymous file."""
    return _Sent(batch) if get_worker_info() is not None and isinstance(batch, Batch) else batch


@functools.cache
def _can_send() -> bool:
    """Whether this process can make anonymous files and pass them on; found out once.

    The system may have no such files, a sandbox may forbid them, or there may be no place for the socket that passes them on.
    """
    try:
        os.close(_in_anonymous_file(np.zeros(1, np.uint8)).detach())
    except (AttributeError, OSError):
        return False
    return True


class _Sent:
    """A batch on its way from a worker; unpickled in the main process it is the `Batch` again.

    Where no anonymous file can be had, its pixels travel through the queue's pipe.
    """

    def __init__(self, batch: Batch):
        pixels, self.labels = batch.images.permute(0, 2, 3, 1).numpy(), batch.labels.numpy()
        self.shape = pixels.shape
        self.pixels: Any = pixels
        if _can_send():
            with contextlib.suppress(OSError):  # out of descriptors or memory; while the queue pickles, it would lose the batch
                self.pixels = _in_anonymous_file(pixels)

    def __reduce__(self) -> tuple[Callable, tuple]:
        return _received, (self.pixels, self.shape, self.labels)


def _in_anonymous_file(pixels: np.ndarray) -> Any:
    """A handle (`DupFd`) on a copy. Raises OSError without memory or descriptors, AttributeError on other systems than Linux."""
    descriptor = os.memfd_create("batch")
    from multiprocessing.reduction import DupFd  # not there on Windows

    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(np.ascontiguousarray(pixels))
        return DupFd(descriptor)
    finally:
        os.close(descriptor)


def _received(pixels: Any, shape: tuple[int, ...], labels: np.ndarray) -> Batch:
    return as_batch(pixels if isinstance(pixels, np.ndarray) else _mapped(pixels, shape), labels)


def _mapped(handle: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The array (uint8) in an anonymous file, which is gone with the array."""
    descriptor = handle.detach()
    try:
        memory = mmap.mmap(descriptor, int(np.prod(shape)), flags=mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0))
    finally:
        os.close(descriptor)
    return np.frombuffer(memory, np.uint8).reshape(shape)
