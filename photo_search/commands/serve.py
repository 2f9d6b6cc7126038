"""search.py serve: the page."""

from photo_search.config import ServeOptions
from photo_search.opening import open_searcher
from utils.errors import InputError


def run(options: ServeOptions) -> None:
    """Serve a page to draw on, until Ctrl-C."""
    try:
        from photo_search import service as page
    except ImportError as error:
        raise InputError(f"the page needs starlette and uvicorn ({error}): pip install starlette uvicorn") from error
    with page.listening(options.host, options.port) as socket:
        page.serve(open_searcher(options), socket, options.host, options.auth)
