"""An HTTP server on this machine, whose answers a test chooses."""

import contextlib
import http.server
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

LAST_MODIFIED = "Mon, 02 Jan 2023 03:04:05 GMT"


class FileServer(http.server.ThreadingHTTPServer):
    """Serves the files of a folder, parts of them too. log: (path, Range) of each request.

    answers: {path: what it answers instead}: a status code, the address of a redirect, "cut short", "whole" to any request,
    or bytes, which are followed by one letter every 20 ms, for 10 s.
    """

    daemon_threads = True

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.last_modified = folder, LAST_MODIFIED
        self.answers: dict[str, int | str | bytes] = {}
        self.log: list[tuple[str, str | None]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        path, wanted = self.path.partition("?")[0], self.headers["Range"]
        self.server.log.append((self.path, wanted))
        answer, file = self.server.answers.get(path), self.server.folder / path.lstrip("/")
        if isinstance(answer, str) and "://" in answer:
            self.send_response(302)
            self.send_header("Location", answer)
            self.end_headers()
        elif isinstance(answer, bytes):
            with contextlib.suppress(OSError):
                for piece in (answer, *[b"a"] * 500):
                    self.wfile.write(piece)
                    time.sleep(0.02)
        elif isinstance(answer, int) or not file.is_file():
            self.send_error(answer if isinstance(answer, int) else 404)
        else:
            content = file.read_bytes()
            if wanted and answer != "whole":
                first, last = map(int, re.findall(r"\d+", wanted))
                part = content[first : last + 1]
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(content)}")
                content = part
            else:
                self.send_response(200)
            self.send_header("Last-Modified", self.server.last_modified)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if answer == "cut short" else content)

    def log_message(self, *_: object) -> None:
        """Write nothing."""


@contextlib.contextmanager
def serving_files(folder: Path) -> Iterator[FileServer]:
    with FileServer(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
