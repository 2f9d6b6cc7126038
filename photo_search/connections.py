"""Limits on connections: one whose visitor neither sends nor reads for too long is closed, so that slow visitors block nobody.

uvicorn limits how long a connection may be idle, but not how long the headers of a request may take to arrive, nor how long a
visitor may leave an answer unread.
"""

import asyncio
import functools
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol


@dataclass(frozen=True)
class Limits:
    """A waiting connection waits for its visitor to send a whole request, or to read some of an answer.

    seconds: how long a connection may wait.
    waiting: how many may wait; one more closes the one that has waited longest.
    requests: above so many connections in all, new requests are answered with 503.
    """

    seconds: float = 10
    waiting: int = 256
    requests: int = 768  # most systems allow 1,024 open files


def server_config(app: ASGIApp, limits: Limits | None = None) -> uvicorn.Config:
    """Settings of a uvicorn server whose connections keep the limits."""
    limits = limits or Limits()
    return uvicorn.Config(
        app,
        http=functools.partial(_Connection, waiting=_Waiting(limits)),  # type: ignore[arg-type]
        limit_concurrency=limits.requests,
        ws="none",
        log_level="warning",
        timeout_graceful_shutdown=2,
        server_header=False,
    )


class _Waiting:
    """Connections that wait for their visitor, the longest wait first."""

    def __init__(self, limits: Limits):
        self._limits = limits
        self._timers: dict[_Connection, asyncio.TimerHandle] = {}

    def add(self, connection: "_Connection") -> None:
        """Start its time, unless it waits already."""
        if connection in self._timers:
            return
        self._start_timer(connection, 0)
        if len(self._timers) > self._limits.waiting:
            self._close(next(iter(self._timers)))

    def remove(self, connection: "_Connection") -> None:
        if connection in self._timers:
            self._timers.pop(connection).cancel()

    def _start_timer(self, connection: "_Connection", unread: int) -> None:
        loop = asyncio.get_running_loop()
        self._timers[connection] = loop.call_later(self._limits.seconds, self._time_is_up, connection, unread)

    def _time_is_up(self, connection: "_Connection", unread_before: int) -> None:
        """unread_before: unread bytes of the answer when the time began; 0: unknown."""
        unread = connection.transport.get_write_buffer_size()
        if unread and (not unread_before or unread < unread_before):  # a slow network
            self._start_timer(connection, unread)
        else:
            self._close(connection)

    def _close(self, connection: "_Connection") -> None:
        self.remove(connection)
        connection.transport.abort()  # `close` would wait until the visitor has read everything


class _Connection(H11Protocol):
    """A uvicorn connection that reports when it waits for its visitor."""

    def __init__(self, *args: Any, waiting: _Waiting, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._waiting = waiting

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._waiting.add(self)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._update()

    def _should_upgrade(self) -> bool:
        return False  # HTTP lets a server ignore the request for another protocol; uvicorn would log a warning

    def on_response_complete(self) -> None:
        self._waiting.remove(self)  # the time of the next wait begins now
        super().on_response_complete()
        self._update()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._waiting.add(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._update()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._waiting.remove(self)

    def _update(self) -> None:
        is_answered = self.cycle is None or self.cycle.response_complete
        if is_answered or self.flow.write_paused:
            self._waiting.add(self)
        else:
            self._waiting.remove(self)
