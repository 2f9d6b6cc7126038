"""Visitors that keep connections open and send or read nothing: they are closed, and keep nobody out."""

import contextlib
import select
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("faiss")
pytest.importorskip("starlette")

from photo_search.connections import Limits
from tests.helpers.serving import bytes_of, drawing, serving

HALF_SENT = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "
GENEROUS = 60  # seconds: a machine may be busy


@contextlib.contextmanager
def connections(served, number, sent):
    """That many, each of which has sent so much."""
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(number):
            opened.append(stack.enter_context(contextlib.closing(socket.create_connection(("127.0.0.1", served.port), GENEROUS))))
            with contextlib.suppress(ConnectionError):
                opened[-1].sendall(sent)
        yield opened


def is_closed(connection):
    """Whether the server has ended it; what it has sent is read."""
    try:
        while select.select([connection], [], [], 0)[0]:
            if not connection.recv(1 << 16):
                return True
    except ConnectionError:
        return True
    return False


def wait_until_closed(opened, seconds=GENEROUS):
    """How many are still open after that."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not all(map(is_closed, opened)):
        time.sleep(0.05)
    return sum(not is_closed(each) for each in opened)


def test_half_sent_requests_keep_nobody_out(searcher):
    with serving(searcher, limits=Limits(seconds=3600, waiting=20)) as served, connections(served, 400, HALF_SENT) as opened:
        for _ in range(5):
            assert served.ask("/search", bytes_of(drawing(1))).status == 200
            assert served.ask("/photo/1").status == 200
        assert wait_until_closed(opened[:370]) == 0
        assert not is_closed(opened[-1])  # those that have waited longest are closed


@pytest.mark.parametrize("sent", [b"", HALF_SENT, b"GET /static/pad.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /"])
def test_what_comes_no_further_is_closed(searcher, sent):
    with serving(searcher, limits=Limits(seconds=0.5)) as served, connections(served, 10, sent) as opened:
        assert wait_until_closed(opened) == 0


def test_headers_that_come_byte_by_byte_have_no_more_time(searcher):
    with serving(searcher, limits=Limits(seconds=0.5)) as served, connections(served, 1, HALF_SENT) as (opened,):
        end = time.monotonic() + GENEROUS
        while not is_closed(opened) and time.monotonic() < end:
            with contextlib.suppress(ConnectionError):
                opened.sendall(b"x")
            time.sleep(0.05)
        assert is_closed(opened)


def test_an_answer_that_takes_longer_than_the_limit_is_given(searcher, monkeypatch):
    original = searcher.of_drawing
    monkeypatch.setattr(searcher, "of_drawing", lambda *words, **how: (time.sleep(1), original(*words, **how))[1])
    with serving(searcher, limits=Limits(seconds=0.3)) as served:
        assert served.ask("/search", bytes_of(drawing(1))).status == 200


def test_an_answer_that_is_not_read_is_given_up(searcher):
    asked = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 2000
    with serving(searcher, limits=Limits(seconds=0.5)) as served, socket.socket() as visitor:
        visitor.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        visitor.connect(("127.0.0.1", served.port))
        visitor.settimeout(GENEROUS)
        with pytest.raises(ConnectionError):  # the server ends it, though it has not been read
            while True:
                visitor.sendall(asked)
        assert served.ask("/photo/1").status == 200


def test_more_requests_than_are_answered_at_once_are_sent_away(searcher, monkeypatch):
    asked, wait, original = threading.Event(), threading.Event(), searcher.of_drawing

    def slow(*words, **how):
        asked.set()
        wait.wait(GENEROUS)
        return original(*words, **how)

    monkeypatch.setattr(searcher, "of_drawing", slow)
    with serving(searcher, limits=Limits(requests=2)) as served, ThreadPoolExecutor(1) as pool:
        first = pool.submit(served.ask, "/search", bytes_of(drawing(1)))
        assert asked.wait(GENEROUS)
        assert served.ask("/photo/1").status == 503
        wait.set()
        assert first.result().status == 200 and served.ask("/photo/1").status == 200


def test_unfinished_uploads_keep_nobody_out(searcher):
    unfinished = b"POST /picture HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n" + bytes(1000)
    with serving(searcher) as served, connections(served, 200, unfinished):
        assert served.ask("/picture", bytes_of(drawing(1))).status == 200
        assert served.ask("/search", bytes_of(drawing(1))).status == 200


def test_a_visitor_who_wants_another_protocol_is_answered_without_a_word(searcher, capsys):
    capsys.readouterr()  # of indexing
    with serving(searcher) as served:
        for other in ("websocket", "h2c"):
            wish = {"Connection": "Upgrade", "Upgrade": other, "Sec-WebSocket-Key": "x", "Sec-WebSocket-Version": "13"}
            assert served.ask("/photo/1", **wish).status == 200
            assert served.ask("/queue/join", **wish).status == 404
    assert capsys.readouterr().err == ""
