"""Stopping on a signal of a scheduler (SIGTERM) or the keyboard (SIGINT), where a run can be resumed; ending worker processes."""

import contextlib
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from multiprocessing.process import BaseProcess
from multiprocessing.util import get_temp_dir

from utils.distributed import Distributed
from utils.errors import EXIT_TEMPFAIL, Stopped

SIGNALS = (signal.SIGTERM, signal.SIGINT)
GRACE_SECONDS = 20.0  # from SIGTERM to the end; launchers and schedulers kill after 30
POLL_SECONDS = 0.5
OVERDUE = (
    "stopped by SIGTERM: the work under way did not end within {:.0f} s; what was not saved is lost, "
    "and --resume goes on from the last checkpoint"
)


class StopRequest:
    """Whether this process was told to stop: at once by `Stopped`, or within `deferred` by `heeded`."""

    def __init__(self, distributed: Distributed):
        self.distributed = distributed
        self.given: str | None = None
        self._process, self._is_deferred = os.getpid(), False
        self._must_end = self._is_over = False
        self._held = 0  # nested blocks of `without_deadline`

    def receive(self, number: int, frame: object) -> None:
        """The signal's handler. At the keyboard, asking twice is an order, unless others would be left waiting."""
        if os.getpid() != self._process:  # a worker process, forked from this one; this one tells it when to go
            return
        is_order = self.given is not None and number == signal.SIGINT and self.distributed.world_size == 1
        self.given = signal.Signals(number).name
        self._must_end = self._must_end or number == signal.SIGTERM
        if is_order or not self._is_deferred:
            raise Stopped(f"stopped by {self.given}, with nothing new to save")
        os.write(2, f"\n{self.given}: stopping as soon as the state can be saved\n".encode())  # print is not for handlers

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Within the block, being told to stop is only noted."""
        before, self._is_deferred = self._is_deferred, True
        try:
            yield
        finally:
            self._is_deferred = before

    @contextlib.contextmanager
    def immediate(self) -> Iterator[None]:
        """Within the block, Stopped is raised as soon as this process is told to stop, or at its start if it was before."""
        before, self._is_deferred = self._is_deferred, False
        try:
            if self.given is not None:
                raise Stopped(f"stopped by {self.given}")
            yield
        finally:
            self._is_deferred = before

    @contextlib.contextmanager
    def without_deadline(self) -> Iterator[None]:
        """Within the block, SIGTERM does not end the process however long it takes: a state is being saved, say."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    def end_when_overdue(self) -> None:
        """In a thread of its own: end the process where the main thread does not within `GRACE_SECONDS` of SIGTERM.

        The main thread may be in one long call into PyTorch, which no signal handler interrupts.
        """
        deadline = None
        while not self._is_over:
            time.sleep(POLL_SECONDS)
            if not self._must_end or self._held:
                deadline = None  # what follows such a block has its own time
                continue
            deadline = deadline or time.monotonic() + GRACE_SECONDS
            if time.monotonic() > deadline and not self._is_over:
                os.write(2, f"\n{OVERDUE.format(GRACE_SECONDS)}\n".encode())
                kill_workers()
                shutil.rmtree(get_temp_dir(), ignore_errors=True)  # of the workers' sockets
                os._exit(EXIT_TEMPFAIL)

    def end(self) -> None:
        """The process goes on, and signals are no longer this request's."""
        self._is_over = True

    def is_requested(self) -> bool:
        """Whether any process of the team was told to stop; all of them get the same answer at the same time."""
        return self.distributed.any(self.given is not None)


@contextlib.contextmanager
def stop_requests(distributed: Distributed) -> Iterator[StopRequest]:
    """Signals turned into a `StopRequest` for the time of the block; only a program's main thread can handle signals."""
    request = StopRequest(distributed)
    with _handled(SIGNALS, request.receive):
        threading.Thread(target=request.end_when_overdue, daemon=True).start()
        try:
            yield request
        finally:
            request.end()
            if request.given is not None:
                kill_workers()  # the interpreter would wait 5 s for each that is stuck


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """SIGTERM and SIGINT that come within the block are handled at its end, in whichever thread they arrive."""
    came: list[int] = []
    try:
        with _handled(SIGNALS, lambda number, _: came.append(number)):
            yield
    finally:
        for number in came:
            signal.raise_signal(number)


@contextlib.contextmanager
def _handled(numbers: Iterable[int], handler: Callable | signal.Handlers) -> Iterator[None]:
    """Within the block these signals have another handler; outside the main thread nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, signal.SIG_DFL if previous is None else previous)  # None: it was not set from Python


def kill_workers(but: Collection[BaseProcess] = ()) -> None:
    """End the worker processes (daemons) of this process, stuck ones too, other than `but`, and wait until they have gone."""
    workers = [child for child in multiprocessing.active_children() if child.daemon and child not in but]
    sigchld = [signal.SIGCHLD] if hasattr(signal, "SIGCHLD") else []
    with _handled(sigchld, signal.SIG_DFL):  # PyTorch's handler takes a worker that was killed for an error
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.join(timeout=1)  # a process in a dead network drive does not even end by SIGKILL


def leave_signals_to_main_process(worker: int) -> None:
    """For a DataLoader's worker processes: a signal to the whole group is the main process's to answer."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
