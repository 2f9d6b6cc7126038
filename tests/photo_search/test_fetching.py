"""Fetching files behind URLs: from a server on this machine, and by programs that stand for gsutil."""

import itertools
import os
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from photo_search import fetching
from photo_search.config import search_options
from photo_search.fetching import Unreachable, fetch, fetch_part, require_known_scheme
from tests.helpers.file_server import serving_files
from tests.helpers.trees import refusal
from utils.errors import InputError, is_disk_full

CONTENT = bytes(range(256)) * 100
SECOND = 10**9
MODIFIED = 1672628645 * SECOND  # LAST_MODIFIED of the server


@pytest.fixture
def server(tmp_path):
    (tmp_path / "served").mkdir()
    (tmp_path / "served/a.tar").write_bytes(CONTENT)
    with serving_files(tmp_path / "served") as server:
        yield server


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch):
    monkeypatch.setattr("photo_search.fetching.PAUSES", (0.01, 0.01))


def test_a_file_is_fetched_with_its_time(server, tmp_path):
    server.answers["/moved.tar"] = f"{server.address}/a.tar"
    fetch(f"{server.address}/moved.tar?signed=1&x=a b", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == CONTENT and (tmp_path / "copy").stat().st_mtime_ns == MODIFIED
    assert [path for path, _ in server.log] == ["/moved.tar?signed=1&x=a%20b", "/a.tar"]


FAULTS = {  # what the server answers: (what is said of it, number of requests)
    404: ("HTTP status 404", 1),
    503: ("HTTP status 503", 3),
    "cut short": ("cut short", 3),
    "ftp://127.0.0.1:1/a.tar": ("unknown url type: ftp", 1),
    "file:///etc/passwd": ("HTTP status 302: redirected to where it may not be fetched", 1),
}


@pytest.mark.parametrize("answer", FAULTS)
def test_what_a_server_does_not_send_is_one_line_and_leaves_no_file(server, tmp_path, answer):
    server.answers["/a.tar"] = answer
    url, (wrong, requests) = f"{server.address}/a.tar", FAULTS[answer]
    line = refusal(fetch, url, tmp_path / "copy")
    assert line.startswith(f"{url}: cannot be fetched (") and wrong in line
    assert len(server.log) == requests and not (tmp_path / "copy").exists()


def test_a_fault_that_passes_does_not_matter(server, tmp_path, monkeypatch):
    server.answers["/a.tar"] = "cut short"
    monkeypatch.setattr("time.sleep", lambda _: server.answers.clear())
    fetch(f"{server.address}/a.tar", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == CONTENT


def test_a_server_that_is_down_or_silent_is_unreachable(server, tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setattr(fetching, "SILENCE", 0.1)
        with pytest.raises(Unreachable, match="timed out"):
            fetch(f"http://127.0.0.1:{port}/a.tar", tmp_path / "copy")
    with pytest.raises(Unreachable, match=r"no answer: Connection refused"):
        fetch(f"http://127.0.0.1:{port}/a.tar", tmp_path / "copy")


URLS = [
    "pipe:touch canary://a.tar",
    "file:///etc/a.tar",
    "data://a.tar",
    "s3://b/a.tar",
    "hf://b/a.tar",
    "ftp://h/a.tar",
    "-http://h/a.tar",
]


@pytest.mark.parametrize("url", URLS)
def test_no_other_scheme_is_fetched(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for function, *others in ((fetch, tmp_path / "copy"), (fetch_part, 0, 1, 0)):
        assert "shards are fetched from http, https, gs; " in refusal(function, url, *others)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("user", ["me:secret", "secret", ":secret", "me:sec@ret"])
def test_a_password_is_neither_recorded_nor_printed(user):
    for url, reason in (("https://{}@host/a.tar", "write no name or password"), ("ftp://{}@host/a.tar", "are fetched from")):
        line = refusal(require_known_scheme, url.format(user))
        assert line.startswith(url.format("").replace("@", "") + ": ") and reason in line and "ret" not in line


@pytest.mark.parametrize(
    "url", ["https://me:secret@host/{0..1}.tar", "pipe:touch canary://secret", "https://me:secret@[::1/a.tar"]
)
def test_such_a_url_is_refused_before_anything_is_done(url, capsys):
    with pytest.raises(SystemExit):
        search_options(["index", url, "-o", "index"])
    assert ("secret" in capsys.readouterr().err) == url.startswith("pipe:")
    assert search_options(["index", "--remove", url, "-o", "index"])  # if an earlier version recorded it


def test_a_full_disk_is_one_line(server):
    class Full:  # a path on a full disk
        parent = "the folder"

        def open(self, _):
            return open("/dev/full", "wb", buffering=0)

        def unlink(self, missing_ok):
            """There is no file."""

    with pytest.raises(InputError, match="the folder: the disk is full") as caught:
        fetch(f"{server.address}/a.tar", Full())
    assert is_disk_full(caught.value)


def test_a_part_is_fetched_and_no_more(server):
    url = f"{server.address}/a.tar"
    assert fetch_part(url, 300, 50, MODIFIED) == fetch_part(url, 300, 50, 0) == CONTENT[300:350]
    assert server.log == [("/a.tar", "bytes=300-349")] * 2


def test_parts_that_cannot_be_had_are_one_line(server, monkeypatch):
    url = f"{server.address}/a.tar"
    assert "has changed" in refusal(fetch_part, url, 0, 10, MODIFIED + SECOND)
    assert "does not send parts" in refusal(fetch_part, url, len(CONTENT) - 5, 10, 0)
    assert "from http and https only" in refusal(fetch_part, "gs://b/a.tar", 0, 10, 0)
    for answer, wrong in (("whole", "does not send parts"), (404, "HTTP status 404"), ("ftp://h/a", "unknown url type")):
        server.answers["/a.tar"] = answer
        assert wrong in refusal(fetch_part, url, 0, 10, 0)
    server.answers.clear()


def test_a_server_that_sends_very_slowly_is_given_up(server, tmp_path, monkeypatch):
    clock = SimpleNamespace(monotonic=itertools.count(0, 100).__next__, sleep=lambda _: None)
    monkeypatch.setattr(fetching, "time", clock)
    assert "fewer than 10,000 bytes per second" in refusal(fetch, f"{server.address}/a.tar", tmp_path / "copy")


DRIPS = [b"X: ", b"Transfer-Encoding: chunked\r\n\r\n", b"Content-Range: bytes 0-199/200\r\n\r\n", b"Location: /b.tar\r\n\r\n"]


@pytest.mark.parametrize("headers", DRIPS)
def test_a_server_that_sends_a_byte_now_and_then_is_given_up(server, tmp_path, monkeypatch, headers):
    monkeypatch.setattr(fetching, "PAUSES", ())
    for name in ("SILENCE", "RANGE_SECONDS"):
        monkeypatch.setattr(fetching, name, 0.2)
    server.answers["/a.tar"] = b"HTTP/1.1 %d Any\r\n%s" % (302 if b"Location" in headers else 206, headers)
    started = time.monotonic()
    if b"Content-Range" not in headers:
        assert "timed out" in refusal(fetch, f"{server.address}/a.tar", tmp_path / "copy")
    if b"Transfer" not in headers:
        assert "timed out" in refusal(fetch_part, f"{server.address}/a.tar", 0, 200, 0)
    assert time.monotonic() - started < 8  # less than the answer takes


@pytest.fixture
def by_program(monkeypatch):
    """by_program(code): gs:// is fetched by this shell script."""
    return lambda code: monkeypatch.setitem(fetching.PROGRAMS, "gs", ("sh", "-c", code))


@pytest.fixture
def is_held(tmp_path):
    """is_held(): whether a process still has the pipe `held` open, after some seconds at most."""
    os.mkfifo(tmp_path / "held")
    reading = os.open(tmp_path / "held", os.O_RDONLY | os.O_NONBLOCK)

    def ask():
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                return os.read(reading, 1) != b""
            except BlockingIOError:
                time.sleep(0.01)
        return True

    yield ask
    os.close(reading)


def test_google_cloud_storage_is_fetched_by_its_program(by_program, tmp_path):
    assert fetching.PROGRAMS["gs"] == ("gsutil", "cat")
    by_program('head -c 3000000 /dev/zero; printf "%s" "$0"')
    fetch("gs://bucket/a b.tar", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == bytes(3_000_000) + b"gs://bucket/a b.tar"


def test_programs_that_fail_are_one_line_and_leave_no_file(by_program, tmp_path, monkeypatch):
    by_program("echo 1; exit 7")
    assert "sh ended with code 7" in refusal(fetch, "gs://bucket/a.tar", tmp_path / "copy")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "needs the program sh; install it" in refusal(fetch, "gs://b/a.tar", tmp_path / "copy")


@pytest.mark.parametrize("code", ["", "exec >&-;"])
def test_a_silent_program_is_killed_with_all_that_it_started(by_program, is_held, tmp_path, monkeypatch, code):
    monkeypatch.setattr(fetching, "PROGRAM_SILENCE", 0.5)
    by_program(f"exec 4<>'{tmp_path}/held'; {code} sleep 60; echo")
    with pytest.raises(Unreachable, match="was silent for"):
        fetch("gs://bucket/a.tar", tmp_path / "copy")
    assert not is_held() and not (tmp_path / "copy").exists()


FETCHING = """
import pathlib, sys
from photo_search import fetching
fetching.PROGRAMS["gs"] = ("sh", "-c", sys.argv[1])
fetching.fetch("gs://bucket/a.tar", pathlib.Path(sys.argv[2]))
"""


def test_a_program_ends_with_this_process(is_held, tmp_path):
    code = f"exec 4<>'{tmp_path}/held'; touch '{tmp_path}/started'; sleep 60; echo"
    with subprocess.Popen([sys.executable, "-c", FETCHING, code, tmp_path / "copy"]) as fetches:
        while not (tmp_path / "started").exists() and fetches.poll() is None:
            time.sleep(0.01)
        fetches.kill()
    assert not is_held()
