"""How worker processes are ended, and what the death of one means."""

import multiprocessing
import os
import signal
import time

from utils.workers import kill_workers, worker_failure


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
