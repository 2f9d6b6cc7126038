"""Taking turns: many ask at once, one is answered at a time, and a crowd is sent away rather than kept waiting."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from starlette.requests import ClientDisconnect, Request

from utils.errors import InputError

SECONDS = 30  # for a request's body to arrive


class Crowded(InputError):
    """Too many are waiting already."""


class TooLarge(InputError):
    """More was sent than is taken."""


class Turns:
    """`workers` are answered at a time, in the order they came; `waiting` may wait."""

    def __init__(self, waiting: int, workers: int = 1):
        self.room, self.workers = waiting + workers, asyncio.Semaphore(workers)
        self.threads = ThreadPoolExecutor(workers)

    async def answer(self, request: Request, most_bytes: int, work: Callable[[bytes], object]) -> object | None:
        """work(the request's body), done in a thread of its own; None, and nothing done, where nobody waits for it any more.

        Raises Crowded, TooLarge, and what `work` raises.
        """
        try:
            body = await asyncio.wait_for(_body(request, most_bytes), SECONDS)
        except ClientDisconnect:
            return None
        except asyncio.TimeoutError:
            raise InputError(f"That took longer than {SECONDS} s to arrive. Try again.") from None
        if self.room == 0:
            raise Crowded("Too many are asking just now. Try again in a moment.")
        self.room -= 1
        try:
            async with self.workers:
                if await request.is_disconnected():  # its drawing has gone on, or its page is closed
                    return None
                return await asyncio.get_running_loop().run_in_executor(self.threads, work, body)
        finally:
            self.room += 1


async def _body(request: Request, most_bytes: int) -> bytes:
    too_large = TooLarge(f"That is too large: more than {most_bytes // 10**6} MB.")
    if int(request.headers.get("content-length", 0)) > most_bytes:
        raise too_large
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most_bytes:
            raise too_large
        parts.append(part)
    return b"".join(parts)
