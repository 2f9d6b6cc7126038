"""search.py serve: the page."""

import functools

from photo_search.config import ServeOptions, StoreOptions
from photo_search.opening import open_network, open_without_network
from utils.errors import InputError


def run(options: ServeOptions, place: StoreOptions) -> None:
    """Serve a page to draw on, until Ctrl-C."""
    try:
        from photo_search import service as page
    except ImportError as error:
        raise InputError(f"the page needs starlette and uvicorn ({error}): pip install starlette uvicorn") from error
    with page.listening(options.host, options.port) as socket:
        searcher = open_without_network(options, place)
        load = functools.partial(open_network, options, searcher.store.for_another_thread())
        page.serve(searcher, load, socket, options.host, options.auth)
