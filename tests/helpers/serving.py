"""The page of a tiny index, served on this machine."""

import contextlib
import functools
import http.client
import io
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from photo_search import indexing
from photo_search.access import LOOPBACK
from photo_search.connections import Limits, Server
from photo_search.encoder import open_network
from photo_search.folder_store import FolderStore
from photo_search.network import Computing, Network
from photo_search.searching import Searcher
from photo_search.service import listening, make_app


def searcher_of(photos: Path, network_file: Path, folder: Path) -> Searcher:
    """A searcher of a new index of these photos."""
    network = _open_network(network_file)
    index = FolderStore(folder, make=True)
    index.belong_to(network)
    indexing.update(index, network, [str(photos)], 4, 0)
    return Searcher(index, network)


@functools.cache
def _open_network(file: Path) -> Network:
    return open_network(file, Computing("cpu", "float32"))


def again(searcher: Searcher) -> Searcher:
    """Another searcher of the same index, for another thread."""
    return Searcher(FolderStore(searcher.store.folder), searcher.network)


@dataclass
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> dict:
        return json.loads(self.body)

    @property
    def found(self) -> list[tuple[int, float]]:
        return [(int(photo["id"]), photo["similarity"]) for photo in self.json["photos"]]


@dataclass
class Served:
    port: int
    searcher: Searcher

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path: str, body: bytes | None = None, method: str | None = None, **headers: str) -> Reply:
        """Sends the path as it is: no client corrects it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method or ("GET" if body is None else "POST"), path, body, named)
        answer = connection.getresponse()
        reply = Reply(answer.status, answer.headers, answer.read())
        connection.close()
        return reply


@contextlib.contextmanager
def serving(
    searcher: Searcher, auth: str | None = None, hosts: tuple[str, ...] | None = LOOPBACK, limits: Limits | None = None
) -> Iterator[Served]:
    """The page on a free port of this machine, until the block ends."""
    with listening("127.0.0.1", 0) as listener:
        server = Server(make_app(searcher, auth, hosts), limits)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        try:
            yield Served(listener.getsockname()[1], searcher)
        finally:
            server.should_exit = True
            thread.join()


def drawing(seed: int) -> Image.Image:
    """A picture with three random lines."""
    image = Image.new("RGB", (200, 160), "white")
    points = np.random.default_rng(seed).integers(5, 150, (4, 2))
    ImageDraw.Draw(image).line([tuple(map(int, point)) for point in points], "black", 4)
    return image


def bytes_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
