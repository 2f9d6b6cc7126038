"""What every request passes first: who may ask, and for what.

gradio draws the page, yet nothing of the page asks its server for more than that; so of gradio's own addresses only those of the
page's parts are let through, and none that takes a file, a path or an event from a visitor.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable

LOOPBACK = ("localhost", "127.0.0.1", "::1")
LONGEST_PATH = 200  # characters; a file system may fail at the name of a longer one
REQUESTS = 512  # answered at the same time; with the connections that wait, fewer than the 1,024 files of most systems
# `/` and the parts of gradio's page; then ours
OPEN = re.compile(
    r"/(config|theme\.css|favicon\.ico|manifest\.json|gradio_api/(info|app_id|startup-events))?"
    r"|/(assets|static)/[\w@/.+-]+"
    r"|/(search|picture|like/\d+|photo/\d+|example/\d+|own/[a-z]+\.(js|css))",
    re.ASCII,
)
HEADERS = {
    # a page that asks for anything elsewhere does not get it: neither gradio's fonts nor whatever a later version may want
    "Content-Security-Policy": "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'self'; form-action 'self'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Gate:
    """ASGI around the page's app.

    auth: USER:PASSWORD, asked for by HTTP's own means, so that it covers every address alike; None: none is.
    hosts: names by which the page may be called (any, if None): another site cannot point its own name at this machine and read
    the page with it.
    """

    def __init__(self, app, auth: str | None = None, hosts: tuple[str, ...] | None = None):
        self.app, self.hosts, self.requests = app, hosts, 0
        self.auth = None if auth is None else _digest(auth.encode())

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        else:
            self.requests += 1
            try:
                await self._answer(scope, receive, _with_headers(send))
            finally:
                self.requests -= 1

    async def _answer(self, scope: dict, receive: Callable, send: Callable) -> None:
        refusal = self._refusal(scope["path"], dict(scope["headers"]))
        if refusal is None:
            await self.app(scope, receive, send)
        else:
            await _refuse(send, *refusal)

    def _refusal(self, path: str, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        if self.requests > REQUESTS:
            return 503, "Too many are asking just now."
        if self.hosts is not None and _name(headers.get(b"host", b"").decode("latin-1")) not in self.hosts:
            return 421, "This page is called by another name."
        if self.auth is not None and not hmac.compare_digest(_digest(_credentials(headers)), self.auth):
            return 401, "Name and password, please."
        if headers.get(b"sec-fetch-site") == b"cross-site" and path != "/":
            return 403, "Asked by another site."
        if len(path) > LONGEST_PATH or not OPEN.fullmatch(path) or ".." in path:
            return 404, "There is no such thing."
        return None


def _name(host: str) -> str:
    return (host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]).lower()


def _credentials(headers: dict[bytes, bytes]) -> bytes:
    kind, _, value = headers.get(b"authorization", b"").partition(b" ")
    try:
        return base64.b64decode(value) if kind.lower() == b"basic" else b""
    except ValueError:
        return b""


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()


def _with_headers(send):
    added = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]

    async def sending(message):
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await send(message)

    return sending


async def _refuse(send, status: int, why: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(why)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="Find photos by drawing", charset="UTF-8"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": why.encode()})
