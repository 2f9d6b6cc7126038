"""One at a time, in order, none for nobody, and no crowd."""

import asyncio
import threading

import pytest

pytest.importorskip("gradio")

from photo_search.page_turns import Crowded, TooLarge, Turns


class Question:
    """A request with that body, of somebody who has gone or not."""

    def __init__(self, body=b"", gone=False):
        self.body, self.gone, self.headers = body, gone, {}

    async def stream(self):
        yield self.body

    async def is_disconnected(self):
        return self.gone


def test_one_at_a_time_and_in_order():
    turns, done, at_once = Turns(10), [], threading.Semaphore(1)

    def work(body):
        assert at_once.acquire(blocking=False)
        done.append(body)
        at_once.release()
        return body

    async def all_ask():
        return await asyncio.gather(*(turns.answer(Question(bytes([number])), 1, work) for number in range(8)))

    assert asyncio.run(all_ask()) == done == [bytes([number]) for number in range(8)]


def test_nothing_is_done_for_one_who_has_gone():
    assert asyncio.run(Turns(1).answer(Question(gone=True), 1, lambda _: pytest.fail("was done"))) is None


def test_a_crowd_is_sent_away_and_then_there_is_room_again():
    turns, wait = Turns(1), threading.Event()

    async def all_ask():
        asked = [turns.answer(Question(), 1, lambda _: wait.wait(10)) for _ in range(5)]
        tasks = [asyncio.create_task(each) for each in asked]
        await asyncio.sleep(0.1)
        wait.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        return answers, await turns.answer(Question(), 1, lambda _: True)

    answers, later = asyncio.run(all_ask())
    assert [type(answer) for answer in answers] == [bool, bool, Crowded, Crowded, Crowded] and later


def test_what_is_sent_in_parts_is_measured_too():
    with pytest.raises(TooLarge, match="more than 1 MB"):
        asyncio.run(Turns(1).answer(Question(bytes(1_000_001)), 1_000_000, lambda _: None))
