"""Stopping on SIGTERM (a scheduler) or SIGINT (the keyboard) at a point from which the run can be resumed."""

import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing.util import get_temp_dir

from utils.distributed import Distributed
from utils.errors import EXIT_TEMPFAIL, Stopped
from utils.workers import STOP_SIGNALS, kill_workers, signal_handlers

GRACE_SECONDS = 20.0  # from SIGTERM to the end; launchers and schedulers send SIGKILL after 30
POLL_SECONDS = 0.5
OVERDUE = (
    "stopped by SIGTERM: the work under way did not end within {:.0f} s; what was not saved is lost, "
    "and --resume goes on from the last checkpoint"
)


class StopRequest:
    """Whether this process received SIGTERM or SIGINT. `Stopped` is raised at once, or, within `deferred`, by the caller."""

    def __init__(self, distributed: Distributed):
        self.distributed = distributed
        self.given: str | None = None  # name of the signal
        self._process = os.getpid()
        self._is_deferred = self._must_end = self._is_over = False
        self._without_deadline = 0  # depth of nested blocks

    def receive(self, number: int, frame: object) -> None:
        """The signal handler. A second Ctrl-C stops at once, unless other ranks would be left waiting."""
        if os.getpid() != self._process:  # a forked worker process: the main process ends it
            return
        is_repeated = self.given is not None and number == signal.SIGINT and self.distributed.world_size == 1
        self.given = signal.Signals(number).name
        self._must_end = self._must_end or number == signal.SIGTERM
        if is_repeated or not self._is_deferred:
            raise Stopped(f"stopped by {self.given}, with nothing new to save")
        os.write(2, f"\n{self.given}: stopping as soon as the state can be saved\n".encode())  # print is unsafe in a handler

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Within the block a signal is only recorded in `given`."""
        before, self._is_deferred = self._is_deferred, True
        try:
            yield
        finally:
            self._is_deferred = before

    @contextlib.contextmanager
    def immediate(self) -> Iterator[None]:
        """Within the block a signal raises Stopped; one received earlier raises it at the start of the block."""
        before, self._is_deferred = self._is_deferred, False
        try:
            if self.given is not None:
                raise Stopped(f"stopped by {self.given}")
            yield
        finally:
            self._is_deferred = before

    @contextlib.contextmanager
    def without_deadline(self) -> Iterator[None]:
        """Within the block, which may save a state, SIGTERM sets no time limit."""
        self._without_deadline += 1
        try:
            yield
        finally:
            self._without_deadline -= 1

    def end_when_overdue(self) -> None:
        """Watchdog thread: end the process if the main thread has not ended within `GRACE_SECONDS` of SIGTERM.

        The main thread may be in one long call into PyTorch, which no signal handler interrupts.
        """
        deadline = None
        while not self._is_over:
            time.sleep(POLL_SECONDS)
            if not self._must_end or self._without_deadline:
                deadline = None  # after a block without deadline the time starts again
                continue
            deadline = deadline or time.monotonic() + GRACE_SECONDS
            if time.monotonic() > deadline and not self._is_over:
                os.write(2, f"\n{OVERDUE.format(GRACE_SECONDS)}\n".encode())
                kill_workers()
                shutil.rmtree(get_temp_dir(), ignore_errors=True)  # the workers' sockets
                os._exit(EXIT_TEMPFAIL)

    def end(self) -> None:
        """End the watchdog: the process goes on without this request."""
        self._is_over = True

    def is_requested(self) -> bool:
        """Whether any rank received a signal; a collective call with the same answer on all ranks."""
        return self.distributed.any(self.given is not None)


@contextlib.contextmanager
def stop_requests(distributed: Distributed) -> Iterator[StopRequest]:
    """Turn signals into a `StopRequest` within the block; call it in the main thread, which alone can handle signals."""
    request = StopRequest(distributed)
    with signal_handlers(STOP_SIGNALS, request.receive):
        threading.Thread(target=request.end_when_overdue, daemon=True).start()
        try:
            yield request
        finally:
            request.end()
            if request.given is not None:
                kill_workers()  # the interpreter would wait 5 s for each stuck one


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Deliver SIGTERM and SIGINT that arrive within the block at its end."""
    received: list[int] = []
    try:
        with signal_handlers(STOP_SIGNALS, lambda number, _: received.append(number)):
            yield
    finally:
        for number in received:
            signal.raise_signal(number)
