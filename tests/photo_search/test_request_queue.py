"""The request queue: order, limits, and visitors who leave."""

import asyncio
import threading

import pytest

pytest.importorskip("starlette")

from photo_search.request_queue import Refusal, RequestQueue


class Question:
    """A request with that body, of somebody who has gone or not."""

    def __init__(self, body=b"", gone=False):
        self.body, self.gone, self.headers = body, gone, {}

    async def stream(self):
        yield self.body

    async def is_disconnected(self):
        return self.gone


async def settled():
    """Lets all that can run do so; no time passes, so a busy machine changes nothing."""
    for _ in range(50):
        await asyncio.sleep(0)


def test_one_at_a_time_and_in_order():
    queue, done, immediate = RequestQueue(10), [], threading.Semaphore(1)

    def work(body):
        assert immediate.acquire(blocking=False)
        done.append(body)
        immediate.release()
        return body

    async def all_ask():
        return await asyncio.gather(*(queue.process(Question(bytes([number])), 1, work) for number in range(8)))

    assert asyncio.run(all_ask()) == done == [bytes([number]) for number in range(8)]


def test_nothing_is_done_for_one_who_has_gone():
    assert asyncio.run(RequestQueue(1).process(Question(gone=True), 1, lambda _: pytest.fail("was done"))) is None


def test_a_crowd_is_sent_away_and_then_there_is_room_again():
    queue, wait = RequestQueue(1), threading.Event()

    async def all_ask():
        asked = [queue.process(Question(), 1, lambda _: wait.wait(10)) for _ in range(5)]
        tasks = [asyncio.create_task(each) for each in asked]
        await settled()
        wait.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        return answers, await queue.process(Question(), 1, lambda _: True)

    answers, later = asyncio.run(all_ask())
    assert [getattr(answer, "status", answer) for answer in answers] == [True, True, 503, 503, 503] and later


def test_what_is_sent_in_parts_is_measured_too():
    with pytest.raises(Refusal, match="more than 1 MB"):
        asyncio.run(RequestQueue(1).process(Question(bytes(1_000_001)), 1_000_000, lambda _: None))


class Unfinished(Question):
    """A request whose body stops arriving after `parts`."""

    def __init__(self, *parts):
        super().__init__()
        self.parts = parts

    async def stream(self):
        for part in self.parts:
            yield part
            await asyncio.sleep(0)
        await asyncio.Event().wait()


def started(queue, questions, most_bytes=10**6):
    return [asyncio.create_task(queue.process(question, most_bytes, bytes)) for question in questions]


def test_unfinished_bodies_take_bounded_memory_and_keep_nobody_out():
    async def crowd():
        queue, most = RequestQueue(10, max_held=10_000, max_arriving=1_000), 0
        tasks = started(queue, [Unfinished(*[bytes(500)] * 6) for _ in range(100)])
        for _ in range(50):
            await asyncio.sleep(0)
            most = max(most, queue.held)
        assert 8_000 < most <= 10_000
        assert await queue.process(Question(b"x" * 9_000), 10**6, len) == 9_000
        assert queue.held <= 1_000
        given_up = [task for task in tasks if task.done()]
        assert len(given_up) >= 97 and all(task.exception().status == 503 for task in given_up)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert queue.held == 0

    asyncio.run(crowd())


def test_of_too_many_unfinished_bodies_the_oldest_are_given_up():
    async def crowd():
        queue = RequestQueue(10, max_arriving=5)
        tasks = started(queue, [Unfinished() for _ in range(20)])
        await settled()
        assert [task.done() for task in tasks] == [True] * 15 + [False] * 5
        assert await queue.process(Question(b"body"), 4, bytes) == b"body"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(crowd())


def test_a_body_that_never_ends_is_waited_for_so_long_and_no_longer():
    async def ask():
        queue = RequestQueue(1, seconds=0.05)
        with pytest.raises(Refusal, match=r"longer than 0\.05 s"):
            await queue.process(Unfinished(b"some"), 10, bytes)
        assert queue.held == 0

    asyncio.run(ask())


def test_whole_bodies_that_wait_count_too_and_what_finds_no_room_is_sent_away():
    queue, wait = RequestQueue(10, max_held=100), threading.Event()

    def asked(number):
        return [asyncio.create_task(queue.process(Question(bytes(40)), 100, lambda _: wait.wait(10))) for _ in range(number)]

    async def all_ask():
        first = asked(2)
        await settled()
        second = await asyncio.gather(*asked(2), return_exceptions=True)
        assert queue.held == 80
        wait.set()
        return await asyncio.gather(*first), second

    first, second = asyncio.run(all_ask())
    assert first == [True, True] and [answer.status for answer in second] == [503, 503]
    assert queue.held == 0


def test_nothing_is_read_where_there_is_no_room_to_wait():
    class Unread(Question):
        async def stream(self):
            pytest.fail("was read")
            yield b""

    queue = RequestQueue(1)
    queue.free = 0
    with pytest.raises(Refusal, match="busy"):
        asyncio.run(queue.process(Unread(), 10, bytes))
