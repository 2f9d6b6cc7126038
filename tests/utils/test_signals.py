"""Stopping: at once or when the state is saved, and never later than the deadline."""

import os
import signal
import time

import pytest

import utils.signals
from utils.distributed import Distributed
from utils.errors import EXIT_TEMPFAIL, Stopped
from utils.signals import GRACE_SECONDS, StopRequest, signals_held, stop_requests


class Ended(Exception):
    """Stands in for the end of the process."""


@pytest.fixture
def clock(monkeypatch, tmp_path):
    """clock.events = {second: action}: what happens while `end_when_overdue` sleeps; clock.now is the time."""

    class Clock:
        now, events = 0.0, {}

        def sleep(self, seconds):
            self.now += seconds
            for second in sorted(second for second in self.events if second <= self.now):
                self.events.pop(second)()

    def end(code):
        raise Ended(code)

    clock = Clock()
    monkeypatch.setattr(time, "sleep", clock.sleep)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(utils.signals, "get_temp_dir", lambda: str(tmp_path / "sockets"))
    return clock


@pytest.fixture
def request_to_stop():
    request = StopRequest(Distributed())
    with request.deferred():
        yield request


def test_a_process_that_goes_on_after_sigterm_is_ended_in_time(clock, request_to_stop, capfd):
    clock.events = {10.0: lambda: request_to_stop.receive(signal.SIGTERM, None)}
    with pytest.raises(Ended, match=str(EXIT_TEMPFAIL)):
        request_to_stop.end_when_overdue()
    assert 10 + GRACE_SECONDS < clock.now <= 10 + GRACE_SECONDS + 2 * utils.signals.POLL_SECONDS
    assert "--resume goes on from the last checkpoint" in capfd.readouterr().err


def test_saving_has_no_deadline_and_what_follows_has_its_own(clock, request_to_stop):
    saving = request_to_stop.without_deadline()
    clock.events = {
        1.0: lambda: request_to_stop.receive(signal.SIGTERM, None),
        2.0: saving.__enter__,
        500.0: lambda: saving.__exit__(None, None, None),
    }
    with pytest.raises(Ended):
        request_to_stop.end_when_overdue()
    assert clock.now > 500 + GRACE_SECONDS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_that_ends_its_block_and_one_at_the_keyboard_have_no_deadline(clock, request_to_stop, number):
    over = 1000.0 if number == signal.SIGINT else 10.0
    clock.events = {1.0: lambda: request_to_stop.receive(number, None), over: request_to_stop.end}
    request_to_stop.end_when_overdue()
    assert clock.now >= over


def test_signals_stop_at_once_unless_deferred_and_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="SIGTERM"), stop_requests(Distributed()) as request:
        with request.deferred():
            signal.raise_signal(signal.SIGTERM)
            assert request.is_requested()
            with pytest.raises(Stopped), request.immediate():
                pass
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_second_ctrl_c_ends_at_once():
    with stop_requests(Distributed()) as request, request.deferred():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Stopped):
            signal.raise_signal(signal.SIGINT)


def test_held_signals_come_at_the_end_of_the_block_whatever_ends_it():
    came = []
    before = signal.signal(signal.SIGTERM, lambda *_: came.append("after"))
    try:
        with pytest.raises(ValueError), signals_held():
            signal.raise_signal(signal.SIGTERM)
            came.append("within")
            raise ValueError
    finally:
        signal.signal(signal.SIGTERM, before)
    assert came == ["within", "after"]
