"""Being told to stop, by a scheduler (SIGTERM) or at the keyboard (SIGINT), and doing so where a run can be taken up again."""

import contextlib
import os
import signal
from collections.abc import Iterator

from utils.distributed import Team
from utils.errors import Stopped

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Whether this process was told to stop: at once by `Stopped`, or within `deferred` by `heeded`."""

    def __init__(self, team: Team):
        self.team = team
        self.given: str | None = None
        self._process, self._is_deferred = os.getpid(), False

    def receive(self, number: int, frame: object) -> None:
        """The signal's handler. At the keyboard, asking twice is an order, unless others would be left waiting."""
        if os.getpid() != self._process:  # a worker process, forked from this one; this one tells it when to go
            return
        is_order = self.given is not None and number == signal.SIGINT and self.team.size == 1
        self.given = signal.Signals(number).name
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
    def at_once(self) -> Iterator[None]:
        """Within the block, Stopped is raised as soon as this process is told to stop, or at its start if it was before."""
        before, self._is_deferred = self._is_deferred, False
        try:
            if self.given is not None:
                raise Stopped(f"stopped by {self.given}")
            yield
        finally:
            self._is_deferred = before

    def heeded(self) -> bool:
        """Whether any process of the team was told to stop; all of them get the same answer at the same time."""
        return self.team.any(self.given is not None)


@contextlib.contextmanager
def stop_requests(team: Team) -> Iterator[StopRequest]:
    """Signals turned into a `StopRequest` for the time of the block."""
    request = StopRequest(team)
    try:
        before = {number: signal.signal(number, request.receive) for number in SIGNALS}
    except ValueError:  # only a program's main thread can handle signals; in another, nothing is different from before
        before = {}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_signals_to_main_process(worker: int) -> None:
    """For a DataLoader's worker processes: a signal to the whole group is the main process's to answer."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
