"""Worker processes, and work without them where the system starts none."""

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from utils.text import one_line

CANNOT_START = (OSError, ImportError, NotImplementedError, BrokenProcessPool)  # no /dev/shm, a limit on processes, and the like


@contextlib.contextmanager
def process_pool(workers: int, initializer: Callable[[], object] | None = None) -> Iterator[ProcessPoolExecutor | None]:
    """A pool of spawned processes that have all answered; None, after a line that says so, where they cannot be started."""
    pool = _started(workers, initializer)
    try:
        yield pool
    finally:
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)


def _started(workers: int, initializer: Callable[[], object] | None) -> ProcessPoolExecutor | None:
    pool = None
    try:
        pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer)
        for answer in [pool.submit(os.getpid) for _ in range(workers)]:
            answer.result()
    except CANNOT_START as error:
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)
        print(f"note: worker processes cannot be started ({one_line(error)}); this process does all the work", flush=True)
        return None
    return pool
