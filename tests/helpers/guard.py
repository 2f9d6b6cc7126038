"""A guard around code that reads hostile files."""

import contextlib
import functools
import os
import resource
import signal
import sys
import warnings
from collections.abc import Iterator

SECONDS, MEGABYTES = 20, 500  # limits of one file
LEAVES_THE_PROCESS = ("os.", "subprocess.", "socket.", "shutil.", "ctypes.", "webbrowser.", "tempfile.", "pty.")
HARMLESS = ("os.listdir", "os.scandir", "os.putenv", "os.unsetenv")
_audited: list[list[str]] = []  # a list of events for each active guard; an audit hook cannot be removed


class Hang(BaseException):
    """Takes too long; no Exception, so that code under test does not catch it."""


def _audit(event: str, arguments: tuple) -> None:
    if not _audited:
        return
    writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and arguments[0] != os.devnull
    if writes or (event.startswith(LEAVES_THE_PROCESS) and event not in HARMLESS):
        _audited[-1].append(f"{event}{arguments}")


@functools.cache
def _install_audit() -> None:
    sys.addaudithook(_audit)


def _stop(*_: object) -> None:
    raise Hang


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Fail if the block warns, takes long or much memory, writes a file, starts a program or opens a connection."""
    _install_audit()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    events: list[str] = []
    signal.signal(signal.SIGALRM, _stop)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        signal.alarm(SECONDS)
        _audited.append(events)
        try:
            yield
        finally:
            _audited.pop()
            signal.alarm(0)
    assert not events
    assert not [str(warning.message) for warning in warned]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEGABYTES * 1024
