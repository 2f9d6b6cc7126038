"""Worker processes: ending them, and what the death of one means."""

import contextlib
import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from multiprocessing.process import BaseProcess

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
WORKER_ENDED = re.compile(r"DataLoader worker .*?(killed by signal: [\w ]+|exited unexpectedly(?: with exit code \d+)?)")


def ignore_stop_signals(worker: int) -> None:
    """A DataLoader's `worker_init_fn`: SIGTERM and SIGINT go to the whole process group, and the main process answers them.

    Where that is killed, the worker ends: it would wait forever to hand over its last batch.
    """
    end_with_parent()
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def end_with_parent() -> None:
    """End this process, at any time and silently, soon after its parent process has ended."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.1)
        os._exit(2)

    threading.Thread(target=watch, daemon=True).start()


def kill_workers(keep: Collection[BaseProcess] = ()) -> None:
    """Kill the daemon child processes of this process except `keep`, stuck ones too, and wait until they have ended."""
    workers = [child for child in multiprocessing.active_children() if child.daemon and child not in keep]
    sigchld = [signal.SIGCHLD] if hasattr(signal, "SIGCHLD") else []
    with signal_handlers(sigchld, signal.SIG_DFL):  # PyTorch's handler raises an error when a worker has been killed
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.join(timeout=1)  # a process that waits for a dead network drive survives even SIGKILL


@contextlib.contextmanager
def signal_handlers(numbers: Iterable[int], handler: Callable | signal.Handlers) -> Iterator[None]:
    """Replace the handlers of these signals within the block; outside the main thread nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, signal.SIG_DFL if previous is None else previous)  # None: not set from Python


def worker_failure(error: BaseException) -> str | None:
    """One line about a DataLoader worker that has died, or None if the error says nothing of the kind."""
    ending = WORKER_ENDED.search(f"{error.__cause__} {error}")  # the cause, where there is one, names the signal
    if ending is None:
        return None
    advice = "it may have run out of memory: lower --num_workers (with 0, the main process decodes)"
    return f"a worker process that decodes images has ended ({ending[1]}); {advice}"
