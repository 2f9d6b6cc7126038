"""Worker processes, where the system starts them, and where it does not."""

import errno
import math
import multiprocessing.process
import os

from utils.pools import process_pool


def test_a_pool_works():
    with process_pool(2) as pool:
        assert list(pool.map(math.factorial, range(5))) == [1, 1, 2, 6, 24]


def test_a_limit_on_processes_is_said_in_a_line_and_leaves_none_running(monkeypatch, capsys):
    started, original = [], multiprocessing.process.BaseProcess.start

    def start(process):
        if started:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        started.append(process)
        original(process)

    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", start)
    with process_pool(2) as pool:
        assert pool is None
    said = capsys.readouterr().out
    assert said.startswith("note: worker processes cannot be started (") and said.count("\n") == 1
    assert os.strerror(errno.EAGAIN) in said
    assert not started[0].is_alive()
