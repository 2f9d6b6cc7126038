"""The page of a tiny index, served on a free port of this machine."""

import contextlib
import http.client
import io
import json
import threading
import time
from dataclasses import dataclass

import numpy as np
import uvicorn
from PIL import Image, ImageDraw

from photo_search import indexing
from photo_search.access import LOOPBACK
from photo_search.connections import server_config
from photo_search.encoder import open_network
from photo_search.folder import IndexFolder
from photo_search.searching import Searcher
from photo_search.service import listening, make_app


def searcher_of(photos, network_file, folder):
    """An index of these photos, ready to be asked."""
    network = open_network(network_file, "cpu")
    index = IndexFolder(folder, make=True)
    index.belong_to(network)
    indexing.update(index, network, [photos], 4, 0)
    return Searcher(index, network)


def again(searcher):
    """Another one for the same index, for another thread."""
    return Searcher(IndexFolder(searcher.folder.path), searcher.network)


@dataclass
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def found(self):
        return [(photo["id"], photo["similarity"]) for photo in self.json["photos"]]


@dataclass
class Served:
    port: int
    searcher: Searcher

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path, body=None, method=None, **headers):
        """Sent as it stands: no client mends the path."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method or ("GET" if body is None else "POST"), path, body, named)
        answer = connection.getresponse()
        reply = Reply(answer.status, answer.headers, answer.read())
        connection.close()
        return reply


@contextlib.contextmanager
def serving(searcher, auth=None, hosts=LOOPBACK, limits=None):
    with listening("127.0.0.1", 0) as listener:
        server = uvicorn.Server(server_config(make_app(searcher, auth, hosts), limits))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        try:
            yield Served(listener.getsockname()[1], searcher)
        finally:
            server.should_exit = True
            thread.join()


def drawing(seed):
    """A picture with three lines somewhere on it."""
    image = Image.new("RGB", (200, 160), "white")
    points = np.random.default_rng(seed).integers(5, 150, (4, 2))
    ImageDraw.Draw(image).line([tuple(map(int, point)) for point in points], "black", 4)
    return image


def bytes_of(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
