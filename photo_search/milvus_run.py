"""One run at a time changes an index on a Milvus server: each has a record there, which it renews until it ends."""

import contextlib
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from photo_search.milvus_records import Records
from photo_search.milvus_values import RUN, Run
from photo_search.store import StoreFault
from utils.errors import InputError

RENEWED, DEAD = 15.0, 90.0  # seconds between renewals; and without any, until a run counts as killed
LOOK = 3.0  # seconds between two looks at another run's record


@contextlib.contextmanager
def sole_run(records: Records, patience: float | None = None) -> Iterator[None]:
    """Raise InputError if another run is changing the index. Records that killed runs left are removed.

    patience: seconds in which the record of another run must be renewed, otherwise the run counts as killed (default: DEAD; 0:
    it never does, unless its process was on this machine). A run's record is there before it looks for others, so of two that
    begin at the same time at most one goes on.
    """
    name, ended = secrets.token_hex(8), threading.Event()
    renewing = threading.Thread(target=_renew, args=(records, name, ended), daemon=True)
    try:
        records.put(RUN, {name: Run(socket.gethostname(), _machine(), os.getpid(), 0)})
        renewing.start()
        _require_alone(records, name, DEAD if patience is None else patience)
        yield
    finally:
        ended.set()
        if renewing.is_alive():
            renewing.join(RENEWED)
        with contextlib.suppress(InputError):
            records.drop(RUN, [name])


def _renew(records: Records, name: str, ended: threading.Event) -> None:
    beats = 0
    while not ended.wait(RENEWED):
        beats += 1
        with contextlib.suppress(InputError):
            records.put(RUN, {name: Run(socket.gethostname(), _machine(), os.getpid(), beats)})


def _require_alone(records: Records, name: str, patience: float) -> None:
    def others() -> dict[str, Run]:
        return {each: run for each, run in records.all(RUN).items() if each != name}

    gone = [each for each, run in others().items() if _is_gone(run)]
    if gone:
        records.drop(RUN, gone)
    before, deadline = others(), time.monotonic() + patience
    if before and patience:
        host = next(iter(before.values())).host
        print(f"waiting until it is clear whether a run on {host} goes on, {patience:.0f} s at most", file=sys.stderr, flush=True)
    while now := others():
        if not patience or any(before.get(each) != run for each, run in now.items()):
            host = next(iter(now.values())).host
            what = f"{records.milvus.place}: is being indexed already by {host}; wait for that to end"
            raise StoreFault(what, "Photos are being indexed; try again later.")
        if time.monotonic() > deadline:
            records.drop(RUN, [*now])
            return
        time.sleep(LOOK)


def _is_gone(run: Run) -> bool:
    """Whether it is known to have ended: it ran on this machine, where its process is no more."""
    return run.machine == _machine() != "" and not os.path.exists(f"/proc/{run.pid}")


def _machine() -> str:
    """A name that no other machine has, nor another container, where processes have other numbers; "" where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip() + os.readlink("/proc/self/ns/pid")
    except OSError:  # this is not Linux
        return ""
