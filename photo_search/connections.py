"""The page's server. A connection whose visitor neither sends nor reads for too long is closed, so slow visitors block nobody.

uvicorn limits how long a connection may be idle, but not how long the headers of a request may take to arrive, nor how long a
visitor may leave an answer unread.
"""

import asyncio
import functools
import time
from collections.abc import Callable
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


class Server(uvicorn.Server):
    """A server whose connections keep the limits."""

    def __init__(self, app: ASGIApp, limits: Limits | None = None):
        self._limits = limits or Limits()
        config = uvicorn.Config(
            app,
            http=functools.partial(_Connection, self._close_stalled),  # type: ignore[arg-type]
            limit_concurrency=self._limits.requests,
            ws="none",
            log_level="warning",
            log_config=None,  # its default closes other libraries' log handlers; absl's, which OpenVINO imports, may close stderr
            timeout_graceful_shutdown=2,
            server_header=False,
        )
        super().__init__(config)

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second."""
        self._close_stalled()
        return await super().on_tick(counter)

    def _close_stalled(self) -> None:
        now, connections = time.monotonic(), list[Any](self.server_state.connections)
        waiting = sorted((each for each in connections if each.is_waiting(now)), key=lambda each: each.since)
        excess = len(waiting) - self._limits.waiting
        for place, connection in enumerate(waiting):
            if place < excess or now - connection.since > self._limits.seconds:
                connection.transport.abort()  # `close` would wait until the visitor has read everything


class _Connection(H11Protocol):
    """A uvicorn connection that knows since when it waits for its visitor."""

    def __init__(self, on_made: Callable[[], None], *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._on_made, self.since = on_made, time.monotonic()
        self._state: tuple[object, int] | None = None, 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._on_made()

    def is_waiting(self, now: float) -> bool:
        """Its time begins with an answered request, and again whenever the visitor has read more of an answer."""
        is_answered = self.cycle is None or self.cycle.response_complete
        is_waiting = is_answered or self.flow.write_paused
        state = (self.cycle, self.transport.get_write_buffer_size()) if is_waiting else None
        if state != self._state:
            self._state, self.since = state, now
        return is_waiting

    def _should_upgrade(self) -> bool:
        return False  # HTTP lets a server ignore the request for another protocol; uvicorn would log a warning
