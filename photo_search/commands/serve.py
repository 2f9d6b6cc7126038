"""search.py serve: the page."""

import functools
import os

from photo_search.config import ServeOptions, StoreOptions
from photo_search.opening import open_network, open_without_network
from utils.errors import InputError

AUTH = "DSN_AUTH"


def run(options: ServeOptions, place: StoreOptions) -> None:
    """Serve a page to draw on, until Ctrl-C."""
    try:
        from photo_search import service as page
    except ImportError as error:
        raise InputError(f"the page needs starlette and uvicorn ({error}): pip install starlette uvicorn") from error
    auth = options.auth or _auth_of_environment()
    with page.listening(options.host, options.port) as socket:
        searcher = open_without_network(options, place)
        load = functools.partial(open_network, options, searcher.store.for_another_thread())
        page.serve(searcher, load, socket, options.host, auth)


def _auth_of_environment() -> str | None:
    """None if there is none."""
    text = os.environ.get(AUTH, "")
    if text and not all(text.partition(":")):
        raise InputError(f"{AUTH}: must be USER:PASSWORD; correct this environment variable")
    return text or None
