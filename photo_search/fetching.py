"""Files behind URLs: HTTP by the standard library, Google Cloud Storage by its program. Both have time limits.

A URL may come from somebody else's index: no scheme that runs a shell, or reads this machine's files, is known here.
"""

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit

from utils.errors import InputError
from utils.files import report_full_disk
from utils.text import one_line

HTTP = ("http", "https")
PROGRAMS = {"gs": ("gsutil", "cat")}  # print the file whose URL follows
SCHEMES = (*HTTP, *PROGRAMS)
SCHEME = re.compile(r"([A-Za-z]+)://.")
USER = re.compile(r"://[^/?#]*@")  # name, password or token
SILENCE, PROGRAM_SILENCE = 30.0, 60.0  # seconds without a byte
LEAST_RATE = 10_000  # bytes per second, after SILENCE
PAUSES = (1.0, 3.0)  # seconds before the second and third attempt
PASSING = (408, 429, 500, 502, 503, 504)  # HTTP status codes of faults that may pass
NO_ANSWER, CUT_SHORT, TIMED_OUT = "no answer", "cut short", "timed out"
BUFFER = 1 << 20
RANGE_SECONDS = 10.0  # for one photo
# A program, and all that it starts, are killed when standard input ends: with this process, whatever ends that.
IN_OWN_SESSION = 'exec 3<&0; { read -r line <&3; kill -9 0; } >/dev/null & exec "$@" </dev/null 3<&-'
URL_CHARACTERS = ":/?#[]@!$&'()*+,;=%~"


class Unreachable(InputError):
    """A server does not answer."""


class _Passing(Exception):
    """A fault that may pass."""


class _Connections(urllib.request.HTTPSHandler):
    """Opens the connections of one request, by HTTP and HTTPS, and shuts them when a step takes too long.

    A socket's own time limit starts again with each byte.
    """

    http_request = urllib.request.HTTPSHandler.https_request

    def __init__(self) -> None:
        super().__init__()
        self.sockets: list[socket.socket] = []
        self.are_shut = False

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_Connection, self), request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_EncryptedConnection, self), request)

    @contextlib.contextmanager
    def within(self, seconds: float, fault: str) -> Iterator[None]:
        """Raises `_Passing`, with the fault, if the block takes longer."""
        watchdog = threading.Timer(seconds, self._shut)
        watchdog.daemon = True
        watchdog.start()
        try:
            yield
        finally:
            watchdog.cancel()
            if self.are_shut:
                raise _Passing(fault)

    def add(self, opened: socket.socket) -> None:
        self.sockets.append(opened)
        if self.are_shut:
            raise TimeoutError("timed out")

    def _shut(self) -> None:
        self.are_shut = True
        for each in self.sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class _Connection(http.client.HTTPConnection):
    def __init__(self, connections: _Connections, host: str, **options: Any):
        super().__init__(host, **options)
        self.connections = connections

    def connect(self) -> None:
        super().connect()
        self.connections.add(self.sock)


class _EncryptedConnection(_Connection, http.client.HTTPSConnection):
    pass


def require_known_scheme(url: str) -> str:
    """The scheme. Raises InputError if files are not fetched by it, or the URL holds a name or password."""
    found = SCHEME.match(url)
    scheme = found[1].lower() if found else ""
    shown = USER.sub("://", url)
    if scheme not in SCHEMES:
        raise InputError(f"{shown}: shards are fetched from {', '.join(SCHEMES)}; download them, and name the files")
    if shown != url:
        raise InputError(f"{shown}: write no name or password into a URL, which the index keeps; use a key, or a signed URL")
    try:
        urlsplit(url)
    except ValueError as error:
        raise InputError(f"{url}: not a URL ({error})") from error
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
    last, content, connections = offset + size - 1, bytearray(), _Connections()
    try:
        with (
            connections.within(RANGE_SECONDS, TIMED_OUT),
            _opened(url, connections, RANGE_SECONDS, {"Range": f"bytes={offset}-{last}"}) as answer,
        ):
            if not answer.headers.get("Content-Range", "").startswith(f"bytes {offset}-{last}/"):
                raise InputError(f"{url}: the server does not send parts of files")
            if changed and _changed(answer) not in (0, changed):
                raise InputError(f"{url}: has changed since it was indexed; index again")
            while len(content) < size and (piece := _read(answer, size - len(content))):
                content += piece
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
    started, connections = time.monotonic(), _Connections()
    with connections.within(2 * SILENCE, f"{NO_ANSWER}: {TIMED_OUT}"):  # the first of several addresses may be silent
        answer = _opened(url, connections, SILENCE, {})
    with answer:
        while True:
            with connections.within(SILENCE, TIMED_OUT):
                content = _read(answer, BUFFER)
            if not content:
                break
            copy.write(content)
            seconds = time.monotonic() - started
            if seconds > SILENCE and copy.tell() < LEAST_RATE * seconds:
                raise _Passing(f"fewer than {LEAST_RATE:,} bytes per second")
        if answer.headers.get("Content-Length", str(copy.tell())) != str(copy.tell()):
            raise _Passing(CUT_SHORT)
        return _changed(answer)


def _opened(url: str, connections: _Connections, seconds: float, headers: dict[str, str]) -> http.client.HTTPResponse:
    """Follows redirects, to HTTP only. Raises `_Passing`, and InputError if the file is not there or the URL is none."""
    opener = urllib.request.OpenerDirector()
    opener.add_handler(connections)
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
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
    name, *words = PROGRAMS[require_known_scheme(url)]
    if shutil.which(name) is None:
        raise InputError(f"{url}: fetching it needs the program {name}; install it")
    with subprocess.Popen(
        ["sh", "-c", IN_OWN_SESSION, "sh", name, *words, url],
        bufsize=0,  # no bytes are kept where `wait` does not see them
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as program:
        try:
            status = _end_of(program, copy)
        finally:
            with contextlib.suppress(OSError):
                os.killpg(program.pid, signal.SIGKILL)
    if status is None:
        raise Unreachable(f"{url}: cannot be fetched ({name} was silent for {PROGRAM_SILENCE:.0f} s); run this again later")
    if status:
        raise InputError(f"{url}: cannot be fetched ({name} ended with code {status}); check the address, or leave it out")


def _end_of(program: subprocess.Popen[bytes], copy: BinaryIO) -> int | None:
    """Copies what the program prints. Its exit status; None if it was silent for too long."""
    assert program.stdout
    while wait([program.stdout.fileno()], PROGRAM_SILENCE):
        if content := program.stdout.read(BUFFER):
            copy.write(content)
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return program.wait(PROGRAM_SILENCE)
            break
    return None
