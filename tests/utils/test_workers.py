"""Worker processes: where the system starts them and where it does not, and how they are ended."""

import errno
import math
import multiprocessing
import multiprocessing.process
import os
import signal
import time

from utils.workers import kill_workers, process_pool, worker_failure


def test_a_pool_works():
    with process_pool(2) as pool:
        assert list(pool.map(math.factorial, range(5))) == [1, 1, 2, 6, 24]


def test_a_limit_on_processes_is_one_note_and_leaves_none_running(monkeypatch, capsys):
    started, original = [], multiprocessing.process.BaseProcess.start

    def start(process):
        if started:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        started.append(process)
        original(process)

    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", start)
    with process_pool(2) as pool:
        assert pool is None
    output = capsys.readouterr().out
    assert output.startswith("note: worker processes cannot be started (") and output.count("\n") == 1
    assert os.strerror(errno.EAGAIN) in output
    assert not started[0].is_alive()


def test_stuck_workers_are_killed_and_others_are_not():
    context = multiprocessing.get_context("spawn")
    stuck, kept, other = (context.Process(target=time.sleep, args=(1000,), daemon=is_daemon) for is_daemon in (True, True, False))
    for process in (stuck, kept, other):
        process.start()
    os.kill(stuck.pid, signal.SIGSTOP)
    try:
        kill_workers(keep=[kept])
        assert stuck.exitcode == -signal.SIGKILL
        assert kept.is_alive() and other.is_alive()
    finally:
        for process in (stuck, kept, other):
            process.kill()
            process.join()


def test_a_dead_worker_is_told_from_other_errors():
    error = RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly")
    error.__cause__ = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
    assert "has ended (killed by signal: Killed" in worker_failure(error) and "--num_workers" in worker_failure(error)
    assert worker_failure(RuntimeError("shapes do not match")) is None
