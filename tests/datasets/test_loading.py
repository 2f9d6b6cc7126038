"""Worker processes hand over what the main process would have decoded, whatever room /dev/shm has."""

import errno
import gc
import multiprocessing
import multiprocessing.connection
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

import datasets.loading
from datasets.loading import Loading, SentBatch
from tests.helpers.pictures import Pictures
from utils.errors import report_errors

ROOT = Path(__file__).resolve().parents[2]
# 3 MB a batch through /dev/shm of this size; the sums prove that every byte came
THROUGH = """
import subprocess, sys
subprocess.run(["mount", "-t", "tmpfs", *sys.argv[1:], "tmpfs", "/dev/shm"], check=True)
from tests.helpers.pictures import Pictures
from datasets.loading import Loading
print(*(int(batch.images.sum(dtype=int)) for batch in Loading(Pictures(12, 512), 4, 2)))
"""


class Killed(Dataset):
    def __len__(self) -> int:
        return 4

    def __getitems__(self, rows):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(autouse=True)
def say_again():
    datasets.loading.print_once.cache_clear()
    datasets.loading.can_send_files.cache_clear()


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)
        assert one.images.stride() == other.images.stride()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("persistent", [False, True])
def test_workers_hand_over_what_the_main_process_reads(workers, persistent):
    loading = Loading(Pictures(), [[3, 1], [0], [9, 8, 7]], workers, persistent=persistent)
    for _ in range(2):
        assert_same(loading, Loading(Pictures(), [[3, 1], [0], [9, 8, 7]], 0))


def test_without_anonymous_files_a_batch_goes_through_a_pipe(monkeypatch):
    def forbidden(*_):
        raise OSError(errno.EPERM, "forbidden")

    monkeypatch.setattr(os, "memfd_create", forbidden)
    assert_same(Loading(Pictures(), 3, 1), Loading(Pictures(), 3, 0))
    monkeypatch.delattr(os, "memfd_create")
    assert_same(Loading(Pictures(), 3, 1), Loading(Pictures(), 3, 0))


class Descriptors(Pictures):
    """Labels are how many descriptors the worker has open."""

    def __getitems__(self, rows):
        return super().__getitems__(rows)._replace(labels=torch.full((len(rows),), len(os.listdir("/proc/self/fd"))))


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs Linux, to count open descriptors")
def test_where_descriptors_cannot_be_passed_on_none_is_lost(monkeypatch):
    """The folder of temporary files may be read-only, or its path too long for a socket."""

    def refused(*_, **__):
        raise OSError("AF_UNIX path too long")

    monkeypatch.setattr(multiprocessing.connection, "Listener", refused)
    opened = [int(batch.labels[0]) for batch in Loading(Descriptors(40), 2, 1)]
    assert opened[-1] == opened[5]


def test_the_pixels_are_not_in_what_a_worker_pickles():
    """Nor does PyTorch share them, for which it would take room in /dev/shm."""
    pickled = bytes(ForkingPickler.dumps(SentBatch(Pictures(4, 512).__getitems__([0, 1]))))
    assert len(pickled) < 10_000
    assert b"torch" not in pickled
    assert pickle.loads(pickled).images.shape == (2, 3, 512, 512)


@pytest.mark.parametrize(("most", "left"), [(0, 0), (1, 1)])
def test_where_fewer_processes_can_be_started_fewer_decode(monkeypatch, capsys, most, left):
    gc.collect()  # ends the workers that earlier tests left
    start, others = multiprocessing.Process.start, set(multiprocessing.active_children())

    def limited(process):
        if len(set(multiprocessing.active_children()) - others) >= most:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        start(process)

    monkeypatch.setattr(multiprocessing.Process, "start", limited)
    for _ in range(2):
        assert_same(Loading(Pictures(), 3, 2), Loading(Pictures(), 3, 0))
    said = capsys.readouterr()
    last = said.out.splitlines()[-1]
    assert last.startswith("note: worker processes cannot be started (Resource temporarily unavailable): ")
    assert (f"{left} of them do the work" if left else "the main process does the work") in last
    assert len(set(said.out.splitlines())) == said.out.count("\n")  # each note once
    assert said.err == "" and set(multiprocessing.active_children()) <= others


def test_without_room_for_semaphores_the_main_process_decodes(monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(multiprocessing.synchronize.SemLock, "__init__", full)
    assert_same(Loading(Pictures(), 3, 1), Loading(Pictures(), 3, 0))
    said = capsys.readouterr()
    assert "(No space left on device): the main process does the work" in said.out and "--shm-size" in said.out
    assert said.err == ""


def test_a_signal_while_workers_start_waits_until_they_have(monkeypatch):
    start, came, others = multiprocessing.Process.start, [], len(multiprocessing.active_children())

    def interrupted(process):
        start(process)
        signal.raise_signal(signal.SIGTERM)
        assert came == []

    monkeypatch.setattr(multiprocessing.Process, "start", interrupted)
    before = signal.signal(signal.SIGTERM, lambda *_: came.append(len(multiprocessing.active_children()) - others))
    try:
        list(Loading(Pictures(), 3, 2))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert came == [2, 2]


def test_a_worker_that_is_killed_is_one_clear_line_at_once(capsys):
    with pytest.raises(SystemExit) as end, report_errors():
        list(Loading(Killed(), 2, 1))
    assert end.value.code == 2
    said = capsys.readouterr().err
    ending = r"error: a worker process that decodes images has ended \((killed by signal: Killed|exited unexpectedly)\); "
    assert re.match(ending, said)
    assert "--num_workers" in said and said.count("\n") == 1


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("unshare") is None or os.geteuid() != 0, reason="needs root, to mount a small /dev/shm")
@pytest.mark.parametrize("options", [["-o", "size=128k"], ["-o", "size=48k"], ["-o", "size=4k"], ["-o", "ro"]])
def test_batches_larger_than_shared_memory_come_through(options):
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
        pytest.skip("mounts are not allowed here")
    words = ["unshare", "-m", sys.executable, "-c", THROUGH, *options]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        try:
            out, err = run.communicate(timeout=120)
        finally:
            run.kill()
    expected = [int(batch.images.sum(dtype=int)) for batch in Loading(Pictures(12, 512), 4, 0)]
    assert run.returncode == 0, err
    assert out.splitlines()[-1] == " ".join(map(str, expected))
    assert ("note: worker processes cannot be started " in out) == (options != ["-o", "size=128k"])


@pytest.mark.slow
def test_stuck_workers_neither_keep_the_program_from_ending_nor_leave_anything(tmp_path):
    code = (
        "import multiprocessing, os, signal, sys\n"
        "from tests.helpers.pictures import Pictures\n"
        "from datasets.loading import Loading\n"
        "loading = Loading(Pictures(), 3, 2, persistent=True)\n"
        "list(loading)\n"
        "[os.kill(child.pid, signal.SIGSTOP) for child in multiprocessing.active_children()]\n"
        "try:\n"
        "    raise ValueError\n"
        "except ValueError:\n"
        "    sys.exit(3)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, timeout=60, stderr=subprocess.PIPE, text=True)
    assert (run.returncode, run.stderr) == (3, "")
    assert not list(tmp_path.glob("pymp-*"))
