"""What the page asks: a drawing or a photo → photos; an uploaded picture → one to draw on; a photo's id → a JPEG."""

import functools
import pathlib
import threading
from typing import Annotated

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse

from photo_search.examples import DRAWINGS, example_png
from photo_search.folder import PHOTOS
from photo_search.request_queue import Bodies, Crowded, TooLarge, Turns
from photo_search.searching import Hit, Searcher
from photo_search.store import Store
from photo_search.thumbnails import SIDES, PhotoFiles
from photo_search.uploads import DRAWING_PIXELS, for_the_pad, picture_of
from utils.errors import InputError

MOST_PHOTOS, USUAL_PHOTOS = 200, 20
DRAWING_BYTES, PICTURE_BYTES = 4 * 10**6, 20 * 10**6
WAITING, UPLOADING = 100, 10  # requests
UPLOADED_BYTES = 64 * 10**6  # of all uploads in memory
# an index never gives an id twice, and a photo that has changed gets a new one; another index at the same address is told by `of`
LONG, NEVER = {"Cache-Control": "private, max-age=86400"}, {"Cache-Control": "no-store"}
OWN = pathlib.Path(__file__).parent / "page"
NONE_FOUND = "No photo was found: the index is empty, or its photos are gone. Index again."

PhotosAsked = Query(USUAL_PHOTOS, ge=1, le=MOST_PHOTOS)
PhotoId = Annotated[int, Path(ge=0, lt=2**63)]  # as SQLite counts


def add_answers(app: FastAPI, searcher: Searcher) -> None:
    """One question is answered at a time: the network has the whole machine, and the index its one connection."""
    searches, uploads = Turns(WAITING), Turns(UPLOADING, bodies=Bodies(UPLOADED_BYTES))
    found = functools.partial(_found, searcher.folder.store.identity)

    @app.post("/search")
    async def search(request: Request, k: int = PhotosAsked, codes: bool = False) -> Response:
        def work(body: bytes) -> dict:
            picture, notice = picture_of(body, DRAWING_PIXELS)
            return found(searcher.of_drawing(picture, k, codes), notice)

        return _answer(await searches.answer(request, DRAWING_BYTES, work))

    @app.get("/like/{id_}")
    async def like(request: Request, id_: PhotoId, k: int = PhotosAsked, codes: bool = False) -> Response:
        return _answer(await searches.answer(request, 0, lambda _: found(searcher.like(id_, k, codes), None)))

    @app.post("/picture")
    async def picture(request: Request) -> Response:
        answer = await uploads.answer(request, PICTURE_BYTES, for_the_pad)
        if answer is None:
            return _answer(None)
        png, notice = answer
        return Response(png, media_type="image/png", headers={"Notice": notice or ""})

    _add_files(app, searcher.folder.path / PHOTOS)
    _add_faults(app)


def _add_files(app: FastAPI, store_file: pathlib.Path) -> None:
    store, turn, files = Store(store_file), threading.Lock(), PhotoFiles()  # so a photo need not wait for a search
    identity = store.identity

    @app.get("/photo/{id_}")
    def photo(id_: PhotoId, side: int = SIDES[0], of: str = "") -> Response:
        with turn:
            indexed = store.photo(id_)
            real_path = None if indexed is None else store.real_path(indexed.path)
        if indexed is None or side not in SIDES:
            return JSONResponse({"notice": "There is no such photo."}, 404)
        try:
            return Response(
                files.jpeg(indexed.path, real_path, side), media_type="image/jpeg", headers=LONG if of == identity else NEVER
            )
        except InputError:
            return JSONResponse({"notice": "That photo is gone, or is another since it was indexed."}, 404)

    @app.get("/example/{number}")
    def example(number: int) -> Response:
        if not 0 <= number < len(DRAWINGS):
            return JSONResponse({"notice": "There is no such example."}, 404)
        return Response(example_png(number), media_type="image/png", headers=LONG)

    @app.get("/own/{name}")
    async def own(name: str) -> Response:
        known = await run_in_threadpool(lambda: {path.name: path for path in OWN.iterdir()})
        return FileResponse(known[name], headers={"Cache-Control": "no-cache"}) if name in known else Response(status_code=404)


def _add_faults(app: FastAPI) -> None:
    """What is wrong reaches the page as a line to show."""

    @app.exception_handler(InputError)
    async def refused(_: Request, error: InputError) -> Response:
        status = {Crowded: 503, TooLarge: 413}.get(type(error), 400)
        return JSONResponse({"notice": _sentence(str(error))}, status)

    @app.exception_handler(RequestValidationError)
    async def unfit(_: Request, error: RequestValidationError) -> Response:
        fault = error.errors()[0]
        return JSONResponse({"notice": _sentence(f"{fault['loc'][-1]}: {fault['msg']}")}, 422)

    @app.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> Response:
        return JSONResponse({"notice": f"Something went wrong ({type(error).__name__}); the terminal says more."}, 500)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _found(identity: str, hits: list[Hit], notice: str | None) -> dict:
    photos = [
        {"id": hit.id, "url": f"photo/{hit.id}?of={identity}", "similarity": round(hit.similarity, 4), "name": _name(hit.path)}
        for hit in hits
    ]
    return {"photos": photos, "notice": notice if hits else NONE_FOUND}


def _name(path: str) -> str:
    """The file and its folder: to find it again, and no more of how somebody's disk is laid out."""
    return "/".join(pathlib.Path(path).parts[-2:]).encode("utf-8", "replace").decode()


def _answer(content: dict | None) -> Response:
    return Response(status_code=204) if content is None else JSONResponse(content, headers=NEVER)
