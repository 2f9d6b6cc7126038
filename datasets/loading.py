"""The project's one DataLoader: worker processes that decode images and do not depend on the size of /dev/shm.

PyTorch sends tensors from a worker to the main process through files in /dev/shm, which a container may limit to 64 MB: a batch
that finds no room there is lost, and the main process waits forever. Here a batch travels in an anonymous file in memory
(`memfd_create`), which /dev/shm does not limit. Only the semaphores of the queues are in /dev/shm, 4 KiB each.
"""

import atexit
import contextlib
import functools
import mmap
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.util import get_temp_dir
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info
from tqdm import tqdm

from utils.progress import progress_bar
from utils.signals import signals_held
from utils.workers import ignore_stop_signals, kill_workers

WORKERS_NEED = "allow more processes or memory, give /dev/shm more room (Docker: --shm-size=1g)"


class Loading:
    """Iterates over the results of `dataset.__getitems__`, batch by batch.

    batches: the batch size, or an iterable over the rows of each batch. num_workers: processes that decode, 0 for the main
    process. If they cannot be started, because /dev/shm has no room or for another reason, half as many are tried, down to none.
    persistent: the workers stay from one pass to the next.
    """

    def __init__(
        self,
        dataset: Dataset,
        batches: int | Iterable[list[Any]],
        num_workers: int,
        *,
        pin_memory: bool = False,
        persistent: bool = False,
    ):
        self.dataset, self.num_workers, self.pin_memory, self.persistent = dataset, num_workers, pin_memory, persistent
        self.batches: dict[str, Any] = {"batch_size" if isinstance(batches, int) else "batch_sampler": batches}
        self._loader: DataLoader | None = None

    def __iter__(self) -> Iterator[Any]:
        if self._loader is None or not self.persistent:
            self._loader = self._with(self.num_workers)
        others = set(multiprocessing.active_children())
        while True:
            try:
                with signals_held():  # a signal must not interrupt the start of the processes half-way
                    return iter(self._loader)
            except (ImportError, OSError) as error:  # no room for semaphores, or no process; no image has been read yet
                if not self.num_workers:
                    raise
                kill_workers(others)
                _release_failed_iterator(error)
                self.num_workers //= 2
                print_once(_fewer_workers(self.num_workers, error))
                self._loader = self._with(self.num_workers)

    def _with(self, workers: int) -> DataLoader:
        if workers:
            _prepare_for_workers()
        return DataLoader(
            self.dataset,
            num_workers=workers,
            pin_memory=self.pin_memory,
            persistent_workers=self.persistent and workers > 0,
            collate_fn=_hand_over,
            worker_init_fn=ignore_stop_signals,
            **self.batches,
        )


def _fewer_workers(workers: int, error: ImportError | OSError) -> str:
    who = f"{workers} of them do" if workers else "the main process does"
    reason = getattr(error, "strerror", None) or error
    return f"note: worker processes cannot be started ({reason}): {who} the work; {WORKERS_NEED}, or lower --num_workers"


def map_in_workers(
    function: Callable[[Any], Any], items: Sequence[Any], chunk: int, num_workers: int, title: str
) -> Iterator[list[Any]]:
    """`function` of each item, in order, in lists of `chunk` results, with a progress bar; computed by worker processes."""
    batches = _Chunks(items, chunk)
    with progress_bar(len(items), title, "img") as bar:
        for results in map_batches(function, batches, num_workers) if items else ():
            yield results
            bar.update(len(results))


def map_batches(function: Callable[[Any], Any], batches: Iterable[list[Any]], num_workers: int) -> Iterator[list[Any]]:
    """`function` of each item of each batch, in order, computed by worker processes; the next batches are made meanwhile."""
    for results in Loading(_Mapped(function), batches, num_workers):
        if isinstance(results, OSError):
            raise results
        yield results


class _Chunks:
    def __init__(self, items: Sequence[Any], chunk: int):
        self.items, self.chunk = items, chunk

    def __iter__(self) -> Iterator[list[Any]]:
        for start in range(0, len(self.items), self.chunk):
            yield list(self.items[start : start + self.chunk])


class _Mapped(Dataset):
    """Its "rows" are the items themselves."""

    def __init__(self, function: Callable[[Any], Any]):
        self.function = function

    def __getitems__(self, items: list[Any]) -> list[Any] | OSError:
        try:
            return [self.function(item) for item in items]
        except OSError as error:  # raised in a worker, it would gain a traceback and lose its number
            return error


@functools.cache
def print_once(note: str) -> None:
    """Print a note the first time only, not on each pass over a list."""
    tqdm.write(note)  # there may be a progress bar on the screen


def _release_failed_iterator(error: BaseException) -> None:
    """Delete a DataLoader iterator that failed to start. Its `__del__` raises because of missing attributes: be silent then."""
    before, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        traceback.clear_frames(error.__traceback__)
    finally:
        sys.unraisablehook = before


@functools.cache
def _prepare_for_workers() -> None:
    with contextlib.suppress(OSError):
        get_temp_dir()  # the main process makes and removes it: a worker that is killed could not remove its own
    if multiprocessing.get_start_method() == "forkserver":  # the default from Python 3.14 on
        multiprocessing.set_forkserver_preload(["__main__", __name__])  # PyTorch is imported once, not by each worker
    atexit.register(kill_workers)  # a worker stuck in a dead network drive would keep the program from ending


def _hand_over(batch: Any) -> Any:
    """The DataLoader's collate function: in a worker, a tuple of images and labels is wrapped to travel in an anonymous file."""
    is_images = isinstance(batch, tuple) and isinstance(batch[0], torch.Tensor)
    return SentBatch(batch) if is_images and get_worker_info() is not None else batch


class SentBatch:
    """A named tuple of images (B, 3, H, W) uint8, channels last in memory, and labels (B,); unpickled, it is that tuple again.

    The pixels travel in an anonymous file, or through the queue's pipe where there are no such files.
    """

    def __init__(self, batch: tuple[torch.Tensor, torch.Tensor]):
        images, labels = batch
        array = images.permute(0, 2, 3, 1).numpy()
        self.kind, self.shape, self.labels = type(batch), array.shape, labels.numpy()
        self.pixels: Any = array
        if can_send_files():
            with contextlib.suppress(OSError):  # out of descriptors or memory; raised while the queue pickles, it would be lost
                self.pixels = _in_anonymous_file(array)

    def __reduce__(self) -> tuple[Callable, tuple]:
        return _received, (self.kind, self.pixels, self.shape, self.labels)


def _received(kind: Callable[..., Any], pixels: Any, shape: tuple[int, ...], labels: np.ndarray) -> Any:
    array = pixels if isinstance(pixels, np.ndarray) else _mapped(pixels, shape)
    return kind(torch.from_numpy(array).permute(0, 3, 1, 2), torch.from_numpy(labels))


@functools.cache
def can_send_files() -> bool:
    """Whether this process can make anonymous files and send them.

    The system may lack them, a sandbox may forbid them, or there may be no place for the socket that they are sent through.
    """
    try:
        os.close(_in_anonymous_file(np.zeros(1, np.uint8)).detach())
    except (AttributeError, OSError):
        return False
    return True


def _in_anonymous_file(pixels: np.ndarray) -> Any:
    """A handle (`DupFd`) on a copy. Raises OSError without memory or descriptors, AttributeError on systems other than Linux."""
    descriptor = os.memfd_create("batch")
    from multiprocessing.reduction import DupFd  # missing on Windows

    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(np.ascontiguousarray(pixels).data)
        return DupFd(descriptor)
    finally:
        os.close(descriptor)


def _mapped(handle: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The uint8 array in an anonymous file, which is freed together with the array."""
    descriptor = handle.detach()
    try:
        memory = mmap.mmap(descriptor, int(np.prod(shape)), flags=mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0))
    finally:
        os.close(descriptor)
    return np.frombuffer(memory, np.uint8).reshape(shape)
