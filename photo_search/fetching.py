"""Files behind URLs: HTTP by the standard library, other schemes by the programs that webdataset calls. Each has time limits.

A URL may come from somebody else's index: no scheme that runs a shell, or reads this machine's files, is known here.
"""

import contextlib
import http.client
import os
import re
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit

from utils.errors import InputError
from utils.files import report_full_disk
from utils.text import one_line

HTTP = ("http", "https")
BY_PROGRAM = ("sftp", "ftps", "scp", "gs", "htgs", "hf", "ais")
SCHEME = re.compile(r"([A-Za-z]+)://.")
SILENCE, PROGRAM_SILENCE = 30.0, 60.0  # seconds without a byte
LEAST_RATE = 10_000  # bytes per second, after SILENCE
PAUSES = (1.0, 3.0)  # seconds before the second and third attempt
PASSING = (408, 429, 500, 502, 503, 504)  # HTTP status codes of faults that may pass
NO_ANSWER, CUT_SHORT = "no answer", "cut short"
BUFFER = 1 << 20
RANGE_SECONDS = 10.0  # for one photo
URL_CHARACTERS = ":/?#[]@!$&'()*+,;=%~"


class Unreachable(InputError):
    """A server does not answer."""


class _Passing(Exception):
    """A fault that may pass."""


def require_known_scheme(url: str) -> str:
    """The scheme. Raises InputError if files are not fetched by it, or the URL holds a password."""
    found = SCHEME.match(url)
    scheme = found[1].lower() if found else ""
    if scheme not in (*HTTP, *BY_PROGRAM):
        raise InputError(f"{url}: shards are fetched from {', '.join((*HTTP, *BY_PROGRAM))}; download them, and name the files")
    try:
        has_password = urlsplit(url).password is not None
    except ValueError as error:
        raise InputError(f"{url}: not a URL ({error})") from error
    if has_password:
        raise InputError(f"{url}: write no password into a URL, which the index keeps; use a key, or a signed URL")
    return scheme


def host_of(url: str) -> str:
    return urlsplit(url).netloc


def fetch(url: str, file: Path) -> None:
    """Copy what a URL names to a new file, whose modification time is that of the server's file, or 0 if it is not known.

    Raises InputError, `Unreachable` if the server does not answer, and leaves no file then.
    """
    try:
        advice = "free some space, then run the same command again: what is indexed is kept"
        with report_full_disk(file.parent, advice), file.open("xb") as copy:
            if require_known_scheme(url) in HTTP:
                changed = _copy_by_http(url, copy)
            else:
                changed = 0
                _copy_by_program(url, copy)
        os.utime(file, ns=(changed, changed))
    except BaseException as error:
        file.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise InputError(
                f"{file.parent}: nothing can be written there ({error.strerror}); index into another folder"
            ) from error
        raise


def fetch_part(url: str, offset: int, size: int, changed: int) -> bytes:
    """`size` bytes of the file behind an HTTP URL, from `offset` on. changed: its modification time, 0 if it is not known.

    Raises InputError if they do not come within `RANGE_SECONDS`, or the file has another modification time.
    """
    if require_known_scheme(url) not in HTTP:
        raise InputError(f"{url}: parts of a file are fetched from {' and '.join(HTTP)} only")
    last, deadline, content = offset + size - 1, time.monotonic() + RANGE_SECONDS, bytearray()
    try:
        with _opened(url, RANGE_SECONDS, {"Range": f"bytes={offset}-{last}"}) as answer:
            if not answer.headers.get("Content-Range", "").startswith(f"bytes {offset}-{last}/"):
                raise InputError(f"{url}: the server does not send parts of files")
            if changed and _changed(answer) not in (0, changed):
                raise InputError(f"{url}: has changed since it was indexed; index again")
            while len(content) < size and (piece := _read(answer, size - len(content))):
                content += piece
                if time.monotonic() > deadline:
                    raise _Passing("too slow")
    except _Passing as fault:
        raise InputError(f"{url}: cannot be fetched ({fault})") from fault
    return bytes(content)


def _copy_by_http(url: str, copy: BinaryIO) -> int:
    """Returns the modification time in nanoseconds. Passing faults are tried again."""
    for pause in (*PAUSES, None):
        try:
            return _copy_once(url, copy)
        except _Passing as fault:
            if pause is None:
                raised = Unreachable if str(fault).startswith(NO_ANSWER) else InputError
                raise raised(f"{url}: cannot be fetched ({fault}); run the same command again later") from fault
            time.sleep(pause)
            copy.seek(0)
            copy.truncate()
    raise AssertionError("the last attempt returns or raises")


def _copy_once(url: str, copy: BinaryIO) -> int:
    started = time.monotonic()
    with _opened(url, SILENCE, {}) as answer:
        while content := _read(answer, BUFFER):
            copy.write(content)
            seconds = time.monotonic() - started
            if seconds > SILENCE and copy.tell() < LEAST_RATE * seconds:
                raise _Passing(f"fewer than {LEAST_RATE:,} bytes per second")
        if answer.headers.get("Content-Length", str(copy.tell())) != str(copy.tell()):
            raise _Passing(CUT_SHORT)
        return _changed(answer)


def _opened(url: str, seconds: float, headers: dict[str, str]) -> http.client.HTTPResponse:
    """Follows redirects, to HTTP only. Raises `_Passing`, and InputError if the file is not there or the URL is none."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    try:
        answer = opener.open(urllib.request.Request(quote(url, safe=URL_CHARACTERS), headers=headers), timeout=seconds)
    except HTTPError as error:
        error.close()
        if error.code in PASSING:
            raise _Passing(f"HTTP status {error.code}") from error
        where = ": redirected to where it may not be fetched" if 300 <= error.code < 400 else ""
        raise InputError(
            f"{url}: cannot be fetched (HTTP status {error.code}{where}); check the address, or leave it out"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, str):  # a redirect to an unknown scheme
            raise InputError(f"{url}: cannot be fetched ({one_line(reason)}); check the address, or leave it out") from error
        raise _Passing(f"{NO_ANSWER}: {getattr(reason, 'strerror', None) or one_line(reason)}") from error
    except ValueError as error:
        raise InputError(f"{url}: not a URL ({one_line(error)})") from error
    assert isinstance(answer, http.client.HTTPResponse)
    return answer


def _read(answer: http.client.HTTPResponse, most: int) -> bytes:
    """What has come, at least a byte, unless that was all."""
    try:
        return answer.read1(most)
    except (OSError, http.client.HTTPException) as error:
        raise _Passing(CUT_SHORT if isinstance(error, http.client.IncompleteRead) else one_line(error)) from error


def _changed(answer: http.client.HTTPResponse) -> int:
    """The modification time in nanoseconds; 0 if the server does not say it."""
    try:
        return max(0, int(parsedate_to_datetime(answer.headers.get("Last-Modified", "")).timestamp())) * 10**9
    except (TypeError, ValueError, OverflowError):
        return 0


def _copy_by_program(url: str, copy: BinaryIO) -> None:
    for content in _output(url):
        copy.write(content)


def _output(url: str) -> Iterator[bytes]:
    """What webdataset's program for this scheme prints. Its own retries end with PROGRAM_SILENCE."""
    try:
        from webdataset.gopen import gopen_schemes  # not `gopen`, which an environment variable can make run a shell
    except ImportError as error:
        raise InputError(f"{url}: fetching it needs webdataset: pip install -r requirements-scale.txt") from error
    try:
        pipe = gopen_schemes[urlsplit(url).scheme.lower()](url, "rb")
    except FileNotFoundError as error:
        raise InputError(f"{url}: fetching it needs the program {error.filename}; install it") from error
    except Exception as error:  # huggingface_hub's, for example
        raise InputError(f"{url}: cannot be fetched ({one_line(error) or type(error).__name__})") from error
    was_silent = threading.Event()
    try:
        while content := _read_within(PROGRAM_SILENCE, pipe, was_silent):
            yield content
        with contextlib.suppress(subprocess.TimeoutExpired):
            pipe.proc.wait(PROGRAM_SILENCE)
    finally:
        pipe.stream.close()
        pipe.proc.kill()
    status = pipe.proc.wait()
    program = pipe.proc.args[0]
    if was_silent.is_set():
        raise Unreachable(f"{url}: cannot be fetched ({program} was silent for {PROGRAM_SILENCE:.0f} s); run this again later")
    if status:
        raise InputError(f"{url}: cannot be fetched ({program} ended with code {status}); check the address, or leave it out")


def _read_within(seconds: float, pipe: Any, was_silent: threading.Event) -> bytes:
    """What has come from a program, which is killed if that takes longer."""

    def end() -> None:
        was_silent.set()
        pipe.proc.kill()

    watchdog = threading.Timer(seconds, end)
    watchdog.start()
    try:
        return pipe.stream.read1(BUFFER)
    finally:
        watchdog.cancel()
