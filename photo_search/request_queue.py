"""Taking turns: many ask at once, one is answered at a time, and a crowd is sent away rather than kept waiting."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect, Request

from utils.errors import InputError

SECONDS = 30  # for a request's body to arrive
UNFINISHED = 64  # bodies that arrive at the same time
HELD = 32 * 10**6  # bytes of all bodies in memory


class Crowded(InputError):
    """Too many are waiting already."""

    def __init__(self):
        super().__init__("Too many are asking just now. Try again in a moment.")


class TooLarge(InputError):
    """More was sent than is taken."""


@dataclass(eq=False)
class _Arriving:
    """A body of which `size` bytes have arrived; `task` receives it."""

    size: int = 0
    parts: list[bytes] = field(default_factory=list)
    task: asyncio.Task | None = None
    is_given_up: bool = False


class Bodies:
    """Request bodies in memory: at most `most_bytes` together, and at most `unfinished` that still arrive.

    Where there is no room for more, the body that has been arriving longest is given up: slow senders keep nobody out.
    """

    def __init__(self, most_bytes: int = HELD, unfinished: int = UNFINISHED, seconds: float = SECONDS):
        self.held, self.most_bytes, self.unfinished, self.seconds = 0, most_bytes, unfinished, seconds
        self._arriving: dict[_Arriving, None] = {}  # in the order they began

    @contextlib.asynccontextmanager
    async def read(self, request: Request, most_bytes: int) -> AsyncIterator[bytes]:
        """A body of at most `most_bytes`, kept until the block ends.

        Raises TooLarge, Crowded if it was given up, InputError after `seconds`, and ClientDisconnect.
        """
        body = await self._received(request, most_bytes)
        try:
            yield body
        finally:
            self.held -= len(body)

    async def _received(self, request: Request, most_bytes: int) -> bytes:
        arriving = _Arriving()
        arriving.task = asyncio.ensure_future(self._receive(request, most_bytes, arriving))
        self._arriving[arriving] = None
        if len(self._arriving) > self.unfinished:
            self._give_up_longest()
        try:
            await asyncio.wait_for(arriving.task, self.seconds)
            if arriving.is_given_up:  # when its last part was here already
                raise Crowded
            body = b"".join(arriving.parts)
            self.held += len(body)  # `_forget` takes the parts off
            return body
        except asyncio.CancelledError:
            if arriving.is_given_up:
                raise Crowded from None
            raise
        except asyncio.TimeoutError:
            raise InputError(f"That took longer than {self.seconds:g} s to arrive. Try again.") from None
        finally:
            self._forget(arriving)

    async def _receive(self, request: Request, most_bytes: int, arriving: _Arriving) -> None:
        too_large = TooLarge(f"That is too large: more than {most_bytes // 10**6} MB.")
        if int(request.headers.get("content-length", 0)) > most_bytes:
            raise too_large
        async for part in request.stream():
            if arriving.size + len(part) > most_bytes:
                raise too_large
            self._make_room(len(part))
            if arriving.is_given_up:
                raise Crowded
            arriving.parts.append(part)
            arriving.size += len(part)
            self.held += len(part)

    def _make_room(self, size: int) -> None:
        while self.held + size > self.most_bytes and self._arriving:
            self._give_up_longest()

    def _give_up_longest(self) -> None:
        longest = next(iter(self._arriving))
        longest.is_given_up = True
        longest.task.cancel()
        self._forget(longest)

    def _forget(self, arriving: _Arriving) -> None:
        self._arriving.pop(arriving, None)
        self.held -= arriving.size
        arriving.size, arriving.parts = 0, []


class Turns:
    """`workers` are answered at a time, in the order they came; `waiting` may wait; their bodies are `bodies`."""

    def __init__(self, waiting: int, workers: int = 1, bodies: Bodies | None = None):
        self.room, self.workers = waiting + workers, asyncio.Semaphore(workers)
        self.threads, self.bodies = ThreadPoolExecutor(workers), bodies or Bodies()

    async def answer(self, request: Request, most_bytes: int, work: Callable[[bytes], object]) -> object | None:
        """work(the request's body), done in a thread of its own; None, and nothing done, where nobody waits for it any more.

        Nothing is read where there is no room to wait. Raises what `Bodies.read` and `work` raise, and Crowded.
        """
        self._require_room()
        try:
            async with self.bodies.read(request, most_bytes) as body:
                self._require_room()
                self.room -= 1
                try:
                    return await self._done(request, work, body)
                finally:
                    self.room += 1
        except ClientDisconnect:
            return None

    async def _done(self, request: Request, work: Callable[[bytes], object], body: bytes) -> object | None:
        async with self.workers:
            if await request.is_disconnected():  # its drawing has gone on, or its page is closed
                return None
            return await asyncio.get_running_loop().run_in_executor(self.threads, work, body)

    def _require_room(self) -> None:
        if self.room == 0:
            raise Crowded
