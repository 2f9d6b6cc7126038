"""Time and room for connections: one that waits for its visitor too long is closed, and none takes the place of another.

uvicorn bounds how long a connection may be idle, but neither how long the headers of a request may take to arrive, nor how long a
visitor may leave an answer unread.
"""

import asyncio
import functools
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol


@dataclass(frozen=True)
class Limits:
    """seconds: how long a connection may wait for its visitor to send a whole request, or to read some of an answer.

    connections: how many may wait; one more closes the one that has waited longest.
    """

    seconds: float = 10
    connections: int = 256


def server_config(app: Callable, limits: Limits | None = None) -> uvicorn.Config:
    """Settings of a uvicorn server for an ASGI app, whose connections keep to the limits."""
    return uvicorn.Config(
        app,
        http=functools.partial(_Connection, waiting=_Waiting(limits or Limits())),
        ws="none",
        log_level="warning",
        timeout_graceful_shutdown=2,
        server_header=False,
    )


class _Waiting:
    """The connections that wait for their visitor, the longest wait first."""

    def __init__(self, limits: Limits):
        self._limits = limits
        self._timers: dict[_Connection, asyncio.TimerHandle] = {}

    def enter(self, connection: "_Connection") -> None:
        """Its time runs from now, or from before if it waits already."""
        if connection in self._timers:
            return
        self._start_timer(connection, 0)
        if len(self._timers) > self._limits.connections:
            self._close(next(iter(self._timers)))

    def leave(self, connection: "_Connection") -> None:
        if connection in self._timers:
            self._timers.pop(connection).cancel()

    def _start_timer(self, connection: "_Connection", unread: int) -> None:
        loop = asyncio.get_running_loop()
        self._timers[connection] = loop.call_later(self._limits.seconds, self._time_is_up, connection, unread)

    def _time_is_up(self, connection: "_Connection", unread_before: int) -> None:
        """unread_before: bytes of the answer that the visitor had not read when the time began; 0: not known."""
        unread = connection.transport.get_write_buffer_size()
        if unread and (not unread_before or unread < unread_before):  # a slow network
            self._start_timer(connection, unread)
        else:
            self._close(connection)

    def _close(self, connection: "_Connection") -> None:
        self.leave(connection)
        connection.transport.abort()  # `close` would wait until the visitor has read everything


class _Connection(H11Protocol):
    """uvicorn's connection; it says when it waits for its visitor."""

    def __init__(self, *settings: object, waiting: _Waiting, **more: object):
        super().__init__(*settings, **more)
        self._waiting = waiting

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._waiting.enter(self)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._note()

    def _should_upgrade(self) -> bool:
        return False  # a wish, which HTTP lets a server pass over; uvicorn would advise on it in the log

    def on_response_complete(self) -> None:
        self._waiting.leave(self)  # the time of the next wait begins now
        super().on_response_complete()
        self._note()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._waiting.enter(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._note()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._waiting.leave(self)

    def _note(self) -> None:
        is_answered = self.cycle is None or self.cycle.response_complete
        if is_answered or self.flow.write_paused:
            self._waiting.enter(self)
        else:
            self._waiting.leave(self)
