"""The request queue: one request is processed at a time, in order; when too many wait, further ones are refused."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from utils.errors import InputError

Result = TypeVar("Result")


class Refusal(InputError):
    """A request answered with this HTTP status and a notice for the visitor."""

    def __init__(self, status: int, notice: str):
        super().__init__(notice)
        self.status = status


class RequestQueue:
    """Processes one request at a time in a thread, in order of arrival.

    max_waiting: requests that may wait for their turn.
    max_held: bytes of all request bodies in memory.
    max_arriving: bodies that may arrive at the same time, within `seconds` each. Where a limit is reached, the body that has
    been arriving longest is dropped, so slow senders block nobody.
    """

    def __init__(self, max_waiting: int, max_held: int = 32 * 10**6, max_arriving: int = 64, seconds: float = 30):
        self.free, self.max_held, self.max_arriving, self.seconds = max_waiting + 1, max_held, max_arriving, seconds
        self._sizes: dict[asyncio.Future[bytes], int] = {}  # of the body that each reading task has received, the oldest first
        self._turn, self._thread = asyncio.Semaphore(1), ThreadPoolExecutor(1)

    @property
    def held(self) -> int:
        """Bytes in memory."""
        return sum(self._sizes.values())

    async def process(self, request: Request, max_bytes: int, work: Callable[[bytes], Result]) -> Result | None:
        """work(body of the request), or None without doing it if the client has disconnected.

        A full queue refuses before it reads the body. Raises what `work` raises, and Refusal: 503 if too many requests wait, 413
        above `max_bytes`, 400 if the body does not arrive in time.
        """
        self._require_free()
        reading = asyncio.ensure_future(self._read(request, max_bytes))
        self._sizes[reading] = 0
        try:
            body = await self._arrival(reading)
            self._require_free()
            self.free -= 1
            try:
                return await self._run(request, work, body)
            finally:
                self.free += 1
        except ClientDisconnect:
            return None
        finally:
            self._sizes.pop(reading, None)

    def _require_free(self) -> None:
        if self.free == 0:
            raise _busy()

    async def _arrival(self, reading: "asyncio.Future[bytes]") -> bytes:
        if len(self._arriving()) > self.max_arriving:
            self._drop(self._arriving()[0])
        try:
            return await asyncio.wait_for(reading, self.seconds)
        except asyncio.TimeoutError:
            raise Refusal(400, f"The upload took longer than {self.seconds:g} s. Try again.") from None
        except asyncio.CancelledError:
            if reading in self._sizes:  # it was not dropped: the server shuts down
                raise
            raise _busy() from None

    async def _read(self, request: Request, max_bytes: int) -> bytes:
        reading: Any = asyncio.current_task()
        too_large = Refusal(413, f"The file is too large: more than {max_bytes // 10**6} MB.")
        if int(request.headers.get("content-length", 0)) > max_bytes:
            raise too_large
        parts = []
        async for part in request.stream():
            if self._sizes[reading] + len(part) > max_bytes:
                raise too_large
            while self.held + len(part) > self.max_held:
                self._drop(self._arriving()[0])  # at last this one
                if reading not in self._sizes:
                    raise _busy()
            parts.append(part)
            self._sizes[reading] += len(part)
        return b"".join(parts)

    def _arriving(self) -> "list[asyncio.Future[bytes]]":
        return [reading for reading in self._sizes if not reading.done()]

    def _drop(self, reading: "asyncio.Future[bytes]") -> None:
        del self._sizes[reading]
        reading.cancel()

    async def _run(self, request: Request, work: Callable[[bytes], Result], body: bytes) -> Result | None:
        async with self._turn:
            if await request.is_disconnected():  # the visitor has drawn on, or closed the page
                return None
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, body)


def _busy() -> Refusal:
    return Refusal(503, "The server is busy: too many requests are waiting. Try again in a moment.")
