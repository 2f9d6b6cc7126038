"""Access control of the page: host names, password, requests from other sites, and security headers."""

import base64
import hmac

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("localhost", "127.0.0.1", "::1")
MAX_PATH = 200  # characters
SECURITY_HEADERS = {
    # data: and blob: are pictures that the page itself made
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class AccessControl:
    """ASGI middleware around the whole app.

    auth: USER:PASSWORD, required by HTTP Basic for every address; None: no password.
    hosts: accepted host names, so that no other site can point its own name at this machine (DNS rebinding); None: any.
    """

    def __init__(self, app: ASGIApp, auth: str | None = None, hosts: tuple[str, ...] | None = None):
        self.app, self.hosts = app, hosts
        self.credentials = None if auth is None else base64.b64encode(auth.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(SECURITY_HEADERS)
                headers.setdefault("Cache-Control", "no-cache")
            await send(message)

        if scope["type"] == "http":
            await (self._refusal(scope["path"], Headers(scope=scope)) or self.app)(scope, receive, send_with_headers)
        else:  # startup and shutdown of the server
            await self.app(scope, receive, send)

    def _refusal(self, path: str, headers: Headers) -> PlainTextResponse | None:
        if self.hosts is not None and _host_name(headers.get("host", "")) not in self.hosts:
            return PlainTextResponse("This host name is not accepted.", 421)
        if self.credentials is not None and not self._is_authorized(headers.get("authorization", "")):
            challenge = {"WWW-Authenticate": 'Basic realm="Find photos by drawing", charset="UTF-8"'}
            return PlainTextResponse("Name and password required.", 401, challenge)
        if headers.get("sec-fetch-site") == "cross-site" and path != "/":
            return PlainTextResponse("Requests from other sites are refused.", 403)
        if len(path) > MAX_PATH or not path.isprintable():
            return PlainTextResponse("Not found.", 404)
        return None

    def _is_authorized(self, authorization: str) -> bool:
        scheme, _, credentials = authorization.partition(" ")
        return scheme.lower() == "basic" and hmac.compare_digest(credentials.strip().encode(), self.credentials or b"")


def _host_name(host: str) -> str:
    return (host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]).lower()
