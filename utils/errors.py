"""The exceptions a user may see, and how a script ends on them."""

import contextlib
import errno
import io
import os
import sys
import time
from collections.abc import Iterator
from typing import NoReturn

from utils.text import printable
from utils.workers import worker_failure

EXIT_TEMPFAIL = 75  # EX_TEMPFAIL of sysexits.h: schedulers can put a job that ends with it back into the queue
DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))  # the disk is full, or the user's quota is used up
RANK_DELAY = 2  # seconds
NO_PYTORCH = (
    "PyTorch is not installed: pip install -r requirements.txt (a search needs none if its index was made by the same version of "
    "this program and of OpenVINO)"
)


class InputError(Exception):
    """The user's input is wrong; the message is one line that names the file, option or key and says what to do."""


class Stopped(BaseException):
    """The program was stopped by a signal, and its work can be resumed; the message says where.

    Like KeyboardInterrupt it is no Exception: it can be raised anywhere, and no `except Exception` may swallow it.
    """


@contextlib.contextmanager
def report_errors() -> Iterator[None]:
    """End the program with a single line and an exit code.

    2 on `InputError`, an unusable file, a full disk, output that cannot be written or a missing PyTorch, 75 on `Stopped`, 130 on
    Ctrl-C, 141 when the reader of the output has gone. Where all ranks fail alike, rank 0 prints first, or the first rank of
    another machine: the others wait a little, and torchrun ends them meanwhile.
    """
    _escape_unencodable_output()
    is_main = os.environ.get("RANK", "0") == "0"
    try:
        with _output_flushed():
            yield
    except InputError as error:
        time.sleep(_rank_delay())
        _end(f"error: {printable(error)}", 2)
    except Stopped as stop:
        _end(printable(stop) if is_main else None, EXIT_TEMPFAIL)
    except BrokenPipeError:  # the reader of our output, `head` for example, has ended
        _end(None, 141)
    except OSError as error:
        reason = _reason(error)
        if reason is None:
            raise
        _end(f"error: {printable(reason)}", 2)
    except RuntimeError as error:
        failure = worker_failure(error)
        if failure is None:
            raise
        _end(f"error: {failure}", 2)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        _end(f"error: {NO_PYTORCH}", 2)
    except KeyboardInterrupt:
        _end("\ninterrupted" if is_main else None, 130)


def _rank_delay() -> int:
    """In seconds."""
    if os.environ.get("RANK", "0") == "0":
        return 0
    return RANK_DELAY if os.environ.get("LOCAL_RANK") == "0" else 2 * RANK_DELAY


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one of its causes, says that a disk is full."""
    seen = list[BaseException]()
    while error is not None and error not in seen:  # an error may be its own cause
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return True
        seen.append(error)
        error = error.__cause__
    return False


def _escape_unencodable_output() -> None:
    r"""Print characters that the output's encoding lacks as `\xf7` instead of raising UnicodeEncodeError."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _reason(error: OSError) -> str | None:
    """One line about a file or standard output that cannot be used; None for any other system error."""
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
    """Output that cannot be written raises OSError here, not at the interpreter's end, where it cannot be handled."""
    try:
        yield
    except SystemExit:  # of --help
        _flush()
        raise
    _flush()


def _flush() -> None:
    if sys.stdout is not None:  # None: it was closed before the program started
        sys.stdout.flush()


def _can_flush() -> bool:
    try:
        _flush()
    except OSError:
        return False
    return True


def _end(line: str | None, code: int) -> NoReturn:
    """Exit; output that cannot be written is dropped, since the interpreter would print a traceback about it."""
    with contextlib.suppress(OSError):
        if line is not None:
            print(line, file=sys.stderr, flush=True)
    if not _can_flush():
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
