"""Where a step's time goes: its parts by name, seen by PyTorch's profiler, and measured on request."""

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch

Item = TypeVar("Item")


class Phases:
    """`with phase("backward"): …` names a part of a step for the profiler; phases do not nest."""

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        with torch.profiler.record_function(name):
            yield


class MeasuredPhases(Phases):
    """The same, and keeps how long each took: on a GPU the time between its first kernel and the next phase's.

    Nothing waits for the device until `milliseconds` is asked for.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.spans: list[tuple[str, float | torch.cuda.Event, float | torch.cuda.Event]] = []

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        started = self._now()
        with super().__call__(name):
            yield
        self.spans.append((name, started, self._now()))

    def milliseconds(self) -> dict[str, float]:
        """The total of each phase, in the order they first came in."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        totals: dict[str, float] = {}
        for name, started, ended in self.spans:
            totals[name] = totals.get(name, 0.0) + _between(started, ended)
        return totals

    def _now(self) -> float | torch.cuda.Event:
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event


def _between(started, ended) -> float:
    if isinstance(started, float):
        return (ended - started) * 1e3
    return started.elapsed_time(ended)


def waited_for(items: Iterable[Item], phase: Phases) -> Iterator[Item]:
    """The same items; getting each one is the phase `waiting for data`."""
    remaining = iter(items)
    while True:
        with phase("waiting for data"):
            item = next(remaining, None)
        if item is None:
            return
        yield item
