"""The web service of the page (page/): its HTTP routes and its server.

The browser keeps the drawing and sends all of it with each search, so the server has no state per visitor.
"""

import asyncio
import contextlib
import errno
import signal
import socket
import string
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from photo_search.access import LOOPBACK, AccessControl
from photo_search.connections import Server
from photo_search.network import Network
from photo_search.request_queue import Refusal, RequestQueue
from photo_search.searching import Hit, Searcher
from photo_search.store import StoreFault
from photo_search.thumbnails import SIDES, thumbnail
from photo_search.uploads import DRAWING_PIXELS, decode_picture, extract_drawing
from utils.errors import InputError
from utils.text import printable
from utils.workers import signal_handlers

PAGE = Path(__file__).parent / "page"
MAX_PHOTOS, DEFAULT_PHOTOS = 200, 20
DRAWING_BYTES, UPLOAD_BYTES = 4 * 10**6, 20 * 10**6
MAX_SEARCHES, MAX_UPLOADS = 100, 10  # waiting requests
UPLOADS_HELD = 64 * 10**6  # bytes of all uploads in memory
# in a photo's address `of` names the index, for another one may be served there later, and `changed` the version of the photo
CACHED, NOT_STORED = {"Cache-Control": "private, max-age=86400"}, {"Cache-Control": "no-store"}
NONE_FOUND = "No photo was found: the index is empty, or its photos are gone. Index again."


class Service:
    """Request handlers. Searches are processed one at a time: each uses all cores, and the index has one connection."""

    def __init__(self, searcher: Searcher):
        self.searcher = searcher
        self.searches, self.uploads = RequestQueue(MAX_SEARCHES), RequestQueue(MAX_UPLOADS, UPLOADS_HELD)
        self.store = searcher.store.for_another_thread()  # photos need not wait for a search
        self.store_lock = contextlib.nullcontext() if self.store.serves_threads else threading.Lock()
        self.identity, self.photos = self.store.fact("identity"), 0

    def page(self, _: Request) -> Response:
        template = string.Template((PAGE / "index.html").read_text(encoding="utf-8"))
        with self.store_lock, contextlib.suppress(InputError):  # a search says what is wrong; until then the last number stays
            self.photos = len(self.store)
        most = min(MAX_PHOTOS, self.photos) or MAX_PHOTOS  # photos may be added to an empty index
        return HTMLResponse(template.substitute(photos=f"{self.photos:,}", most=most, default=min(DEFAULT_PHOTOS, most)))

    async def search(self, request: Request) -> Response:
        """A drawing → photos. It waits for the network before it joins the queue, so that other requests need not."""
        k, codes = _options(request)
        await asyncio.shield(asyncio.wrap_future(self.searcher.loaded))  # one visitor's end must not cancel it for all

        def work(body: bytes) -> dict[str, object]:
            picture, notice = decode_picture(body, DRAWING_PIXELS)
            return self._found(self.searcher.of_drawing(picture, k, codes, grouped=True), notice)

        return _json(await self.searches.process(request, DRAWING_BYTES, work))

    async def like(self, request: Request) -> Response:
        """An indexed photo → similar photos."""
        (k, codes), id_ = _options(request), _photo_id(request)

        def work(_: bytes) -> dict[str, object]:
            return self._found(self.searcher.like(id_, k, codes, grouped=True))

        return _json(await self.searches.process(request, 0, work))

    async def picture(self, request: Request) -> Response:
        """An uploaded picture → the drawing in it, as PNG."""
        answer = await self.uploads.process(request, UPLOAD_BYTES, extract_drawing)
        if answer is None:
            return _json(None)
        png, notice = answer
        return Response(png, media_type="image/png", headers={"Notice": notice or "", **NOT_STORED})

    def photo(self, request: Request) -> Response:
        """An indexed photo → a small JPEG."""
        side, id_ = request.query_params.get("side", str(SIDES[0])), _photo_id(request)
        with self.store_lock:
            photo = self.store.photos_of([id_]).get(id_)
            if photo is None or side not in map(str, SIDES):
                raise Refusal(404, "there is no such photo")
            real_path = self.store.real_path(photo.shard or photo.path)
        try:
            jpeg = thumbnail(photo, real_path, int(side))
        except InputError as error:
            raise Refusal(
                404, "the photo is gone, has changed since it was indexed, or is not to be had from its server"
            ) from error
        is_this_index = request.query_params.get("of") == self.identity
        return Response(jpeg, media_type="image/jpeg", headers=CACHED if is_this_index else NOT_STORED)

    def _found(self, hits: list[Hit], notice: str | None = None) -> dict[str, object]:
        photos = [{**self._described(hit), "duplicates": [*map(self._described, hit.duplicates)]} for hit in hits]
        return {"photos": photos, "notice": notice if hits else NONE_FOUND}

    def _described(self, hit: Hit) -> dict[str, object]:
        name = hit.photo.short_name
        url = f"photo/{hit.id}?of={self.identity}&changed={hit.photo.changed}"
        similarity = round(hit.similarity, 4)  # and the id as text: browsers round integers beyond 2^53
        return {"id": str(hit.id), "url": url, "similarity": similarity, "name": name.encode("utf-8", "replace").decode()}


def make_app(searcher: Searcher, auth: str | None = None, hosts: tuple[str, ...] | None = None) -> ASGIApp:
    """The ASGI app of the page. auth and hosts: see `AccessControl`."""
    service = Service(searcher)
    routes = [
        Route("/", service.page),
        Route("/search", service.search, methods=["POST"]),
        Route("/like/{id:int}", service.like),
        Route("/picture", service.picture, methods=["POST"]),
        Route("/photo/{id:int}", service.photo),
        Mount("/static", StaticFiles(directory=PAGE)),
    ]
    handlers = {InputError: _refuse, Exception: _fail}
    app = Starlette(routes=routes, middleware=[Middleware(GZipMiddleware)], exception_handlers=handlers)
    app.router.redirect_slashes = False
    return AccessControl(app, auth, hosts)


async def _refuse(_: Request, error: Exception) -> Response:
    if isinstance(error, StoreFault):
        print(f"error: {printable(error)}", file=sys.stderr, flush=True)
    text = (error.notice if isinstance(error, StoreFault) else str(error)).rstrip(".")
    return JSONResponse({"notice": f"{text[:1].upper()}{text[1:]}."}, getattr(error, "status", 400))


async def _fail(_: Request, error: Exception) -> Response:
    return JSONResponse({"notice": f"Something went wrong ({type(error).__name__}); see the server's terminal."}, 500)


def _options(request: Request) -> tuple[int, bool]:
    """(number of photos, whether to search by hash codes)."""
    k, codes = request.query_params.get("k", str(DEFAULT_PHOTOS)), request.query_params.get("codes", "false")
    if k not in map(str, range(1, MAX_PHOTOS + 1)):
        raise Refusal(422, f"k: must be a number from 1 to {MAX_PHOTOS}")
    if codes not in ("true", "false"):
        raise Refusal(422, "codes: must be true or false")
    return int(k), codes == "true"


def _photo_id(request: Request) -> int:
    return min(request.path_params["id"], 2**63 - 1)  # SQLite's largest integer


def _json(content: dict[str, object] | None) -> Response:
    return Response(status_code=204) if content is None else JSONResponse(content, headers=NOT_STORED)


def listening(host: str, port: int) -> socket.socket:
    """A listening socket. Raises InputError if host and port cannot be used."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=256)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        if isinstance(error, (socket.gaierror, UnicodeError)) or error.errno == errno.EADDRNOTAVAIL:
            advice = "choose an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all of them"
            raise InputError(f"--host {host}: cannot be used ({reason}); {advice}") from error
        raise InputError(f"--host {host} --port {port}: cannot be used ({reason}); choose another port, or 0 for any") from error


def serve(searcher: Searcher, load: Callable[[], Network], listener: socket.socket, host: str, auth: str | None) -> None:
    """Serve the page until Ctrl-C. Meanwhile `load` reads the searcher's network; if it raises an error, the server stops."""
    is_private = host in LOOPBACK
    server = Server(make_app(searcher, auth, LOOPBACK if is_private and auth is None else None))
    port = listener.getsockname()[1]
    if not is_private and auth is None:
        print(f"warning: --host {host}: everyone who can reach this address sees the indexed photos; set --auth USER:PASSWORD")
    print(f"draw at http://{f'[{host}]' if ':' in host else host}:{port} (Ctrl-C ends it)\nloading the network …", flush=True)
    with ThreadPoolExecutor(1) as pool, signal_handlers([signal.SIGTERM], signal.default_int_handler):  # as Ctrl-C
        running = pool.submit(server.run, [listener])
        try:
            network = load()
            print(f"searching by {network.engine}", flush=True)  # its name is known when it has started
            searcher.loaded.set_result(network)
            _wait_for(running)
        finally:
            if not searcher.loaded.done():
                searcher.loaded.set_exception(Refusal(503, "the server is stopping"))
            server.should_exit = True


def _wait_for(running: Future[None]) -> None:
    """Returns on Ctrl-C too; raises what the server raised."""
    try:
        while wait([running], timeout=1).not_done:  # Windows does not let Ctrl-C interrupt a wait
            pass
        running.result()
    except KeyboardInterrupt:
        print("\nended")
