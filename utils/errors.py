"""The one exception a user may see, and how a script ends on it."""

import contextlib
import errno
import io
import os
import re
import sys
import time
from collections.abc import Iterator
from typing import NoReturn

from utils.text import printable

SECONDS_BEHIND_THE_FIRST = 2
WORKER_ENDED = re.compile(r"DataLoader worker .*?(killed by signal: [\w ]+|exited unexpectedly(?: with exit code \d+)?)")


class InputError(Exception):
    """Something the user gave is wrong; the message is one line that names it and says what to do."""


class Stopped(BaseException):
    """The program was told to stop, and its work can be taken up again; the message says where.

    Like KeyboardInterrupt it is no Exception, for it can be raised anywhere and is nobody's to handle.
    """


EXIT_TEMPFAIL = 75  # EX_TEMPFAIL of sysexits.h: what schedulers are told to put a job back into the queue for
DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))  # the disk is full, or the user's share of it


@contextlib.contextmanager
def report_errors() -> Iterator[None]:
    """End the program with a single line and an exit code.

    2 on `InputError`, an unusable file, a full disk or output that cannot be written, 75 on `Stopped`, 130 on Ctrl-C, 141 where
    nobody reads the output. Of several processes with the same complaint the first one's is the one to be read: the others wait
    a little, in which torchrun ends them.
    """
    _print_anything()
    try:
        with _output_flushed():
            yield
    except InputError as error:
        if os.environ.get("RANK", "0") != "0":
            time.sleep(SECONDS_BEHIND_THE_FIRST)
        _end(f"error: {printable(error)}", 2)
    except Stopped as stop:
        _end(printable(stop) if os.environ.get("RANK", "0") == "0" else None, EXIT_TEMPFAIL)
    except BrokenPipeError:  # the reader of our output, `head` say, has had enough
        _end(None, 141)
    except OSError as error:
        reason = _reason(error)
        if reason is None:
            raise
        _end(f"error: {printable(reason)}", 2)
    except RuntimeError as error:
        ending = WORKER_ENDED.search(f"{error.__cause__} {error}")  # the cause, where there is one, names the signal
        if ending is None:
            raise
        advice = "it may have run out of memory: lower --num_workers (with 0, the main process decodes)"
        _end(f"error: a worker process that decodes images has ended ({ending[1]}); {advice}", 2)
    except KeyboardInterrupt:
        _end("\ninterrupted", 130)


def _print_anything() -> None:
    r"""Letters that the encoding of the output lacks are printed as `\xf7`, so that printing them does not end the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, says that a disk is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return True
        error = error.__cause__
    return False


def _reason(error: OSError) -> str | None:
    """One line on a file that cannot be used, standard output among them; None for any other error of the system."""
    if error.filename:
        advice = "free some space" if error.errno in DISK_FULL else "check that it exists and that you may use it"
        return f"{error.filename}: {error.strerror}; {advice}"
    if not _can_flush():
        return f"standard output: {error.strerror}; send it where it can be written"
    if error.errno in DISK_FULL:
        return f"standard output or a file: {error.strerror}; free some space, then run the same command again"
    return None


@contextlib.contextmanager
def _output_flushed() -> Iterator[None]:
    """What cannot be printed raises OSError in here, not when the interpreter ends, where nobody can handle it."""
    try:
        yield
    except SystemExit:  # of --help
        _flush()
        raise
    _flush()


def _flush() -> None:
    if sys.stdout is not None:  # it was closed before we began
        sys.stdout.flush()


def _can_flush() -> bool:
    try:
        _flush()
    except OSError:
        return False
    return True


def _end(line: str | None, code: int) -> NoReturn:
    """What standard output does not take is dropped: the interpreter would complain of it as it ends."""
    with contextlib.suppress(OSError):
        if line is not None:
            print(line, file=sys.stderr, flush=True)
    if not _can_flush():
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
