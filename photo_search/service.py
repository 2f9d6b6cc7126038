"""The page on which photos are found by drawing: gradio's, behind a gate, with answers of our own.

The pad is a canvas of ours (page/pad.js), for gradio's own sends each stroke through its queue and state on the server:
here the browser keeps the drawing, each question carries all of it, and an answer to an older one is dropped where it arrives.
"""

import errno
import os
import socket
from collections.abc import Callable

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
os.environ["GRADIO_RUN_HISTORY"] = "False"

import gradio
import uvicorn  # gradio's own server, as fastapi is its web framework
from fastapi import FastAPI

from photo_search.access import LOOPBACK, Gate
from photo_search.answers import add_answers
from photo_search.connections import server_config
from photo_search.searching import Searcher
from photo_search.view import HEAD, page_view, theme
from utils.errors import InputError

NAME_A_HOST = "choose an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all of them"


def make_app(searcher: Searcher, auth: str | None = None, hosts: tuple[str, ...] | None = None) -> Callable:
    """The ASGI app. auth and hosts: see `Gate`."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    add_answers(app, searcher)
    with_page = gradio.mount_gradio_app(
        app, page_view(len(searcher.folder.store)), "/", theme=theme(), head=HEAD, footer_links=[], ssr_mode=False, pwa=False
    )
    return Gate(with_page, auth, hosts)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises InputError if it cannot."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--host {host}: no address of that name ({reason}); {NAME_A_HOST}") from error
    try:
        return socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        reason = error.strerror or error
        if error.errno == errno.EADDRNOTAVAIL:
            raise InputError(f"--host {host}: cannot be used ({reason}); {NAME_A_HOST}") from error
        raise InputError(f"--host {host} --port {port}: cannot be used ({reason}); choose another port, or 0 for any") from error


def serve(searcher: Searcher, listener: socket.socket, host: str, auth: str | None) -> None:
    """Until Ctrl-C."""
    is_private = host in LOOPBACK
    app = make_app(searcher, auth, LOOPBACK if is_private and auth is None else None)
    port = listener.getsockname()[1]
    if not is_private and auth is None:
        print(f"warning: --host {host}: whoever reaches it sees the indexed photos; --auth USER:PASSWORD asks who it is")
    print(f"draw at http://{f'[{host}]' if ':' in host else host}:{port} (Ctrl-C ends it)", flush=True)
    try:
        uvicorn.Server(server_config(app)).run(sockets=[listener])
    except KeyboardInterrupt:
        print("\nended")
