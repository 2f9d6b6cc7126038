"""Drawings and photos → the most similar indexed photos that still exist."""

from concurrent.futures import Future
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from datasets.images import decode
from datasets.sketch_cleanup import as_training_sketch
from photo_search.network import Network
from photo_search.store import PhotoFile, Store
from utils.errors import InputError

MOST_CANDIDATES = 5_000  # looked at where photos turn out to be gone, or to be copies: on a drive that is away, all are
CANDIDATES, GROWTH = 200, 8  # looked at first to find groups, at least; and how many times as many each further time
# Cosine from which two photos count as one. Re-encoded and resized copies have 0.995 to 1 with the original, cropped and brighter
# ones less. Of 1,500 different photos, up to 1 % have another one so near; with 0.98 it would be 0 to 86 %, depending on the
# network (DSN's and frozen ResNets, at 64 pixels).
NEAR_DUPLICATE = 0.995
BLOCK = 256  # rows compared with all others by one matrix product


@dataclass(frozen=True)
class Hit:
    """An indexed photo; similarity: the cosine in [-1, 1], or its estimate from codes.

    duplicates: its near-duplicates, each at most as similar to the query, the most similar first; empty if they are not grouped.
    """

    id: int
    photo: PhotoFile
    similarity: float
    duplicates: tuple["Hit", ...] = ()

    @property
    def path(self) -> str:
        """Its path, or the name of a photo in a shard."""
        return self.photo.path


class Searcher:
    """An index and the network that made it. Photos that are gone from the disk are left out.

    network: None if it is still to be loaded; `loaded` receives it, and searches for a drawing or a photo file wait for that.
    grouped, in each search: near-duplicates of one photo count as one hit, which holds them.
    """

    def __init__(self, store: Store, network: Network | None = None):
        self.store, self.loaded = store, Future[Network]()
        if network is not None:
            self.loaded.set_result(network)

    @property
    def network(self) -> Network:
        return self.loaded.result()

    def of_drawing(self, drawing: Image.Image, k: int, codes: bool = False, grouped: bool = False) -> list[Hit]:
        """The k photos most similar to a drawing, the most similar first. Raises InputError if the drawing is empty."""
        pixels = as_training_sketch(drawing, self.network.side)
        return self.of_vector(self.network.embed_sketches(pixels[None])[0], k, codes, grouped)

    def of_photo(self, path: str, k: int, codes: bool = False, grouped: bool = False) -> list[Hit]:
        """The query is a photo file, indexed or not. Raises InputError if it cannot be read."""
        pixels = decode(path, self.network.side, self.network.fit)
        return self.of_vector(self.network.embed_photos(pixels[None])[0], k, codes, grouped)

    def like(self, id_: int, k: int, codes: bool = False, grouped: bool = False) -> list[Hit]:
        """The query is an indexed photo, which is left out. Raises InputError if it is no longer indexed."""
        vector = self.store.vectors_of([id_]).get(id_)
        if vector is None:
            raise InputError("that photo is no longer in the index; search again")
        return self.of_vector(vector, k, codes, grouped, without=id_)

    def of_vector(
        self, vector: np.ndarray, k: int, codes: bool = False, grouped: bool = False, without: int | None = None
    ) -> list[Hit]:
        """vector: (d,); without: id of a photo to leave out."""
        candidates = k + (without is not None)
        most = max(candidates, MOST_CANDIDATES)
        if grouped:
            candidates = min(max(4 * k, CANDIDATES), most)
        while True:
            ids, similarity = (found[0].tolist() for found in self.store.search(vector[None], candidates, codes))
            found = [hit for hit in self._existing(ids, similarity) if hit.id != without]
            hits = self._grouped(found, k) if grouped else found[:k]
            if len(hits) == k or len(ids) < candidates or candidates >= most:
                return hits
            candidates = min(GROWTH * candidates, most)

    def _existing(self, ids: list[int], similarity: list[float]) -> list[Hit]:
        photos = self.store.photos_of(ids)
        hits = (Hit(id_, photos[id_], value) for id_, value in zip(ids, similarity, strict=True) if id_ in photos)
        return [hit for hit in hits if hit.photo.exists]

    def _grouped(self, hits: list[Hit], k: int) -> list[Hit]:
        """The first k groups of near-duplicates, each as its first hit, which holds the others."""
        vectors = self.store.vectors_of(hit.id for hit in hits)
        hits = [hit for hit in hits if hit.id in vectors]
        if not hits:
            return []
        groups = near_duplicates(np.stack([vectors[hit.id] for hit in hits]), k)
        return [replace(hits[first], duplicates=tuple(hits[row] for row in others)) for first, *others in groups]


def near_duplicates(vectors: np.ndarray, most: int) -> list[list[int]]:
    """Rows of unit vectors (n, d) in groups, at most so many: each row joins the first group whose first row is near enough."""
    groups, left = list[list[int]](), np.arange(len(vectors))
    while len(left) and len(groups) < most:
        is_free, rows = np.ones(len(left), bool), vectors[left]
        for row, is_near in enumerate(rows[:BLOCK] @ rows.T >= NEAR_DUPLICATE):
            if is_free[row] and len(groups) < most:
                is_near[row] = True
                groups.append(left[is_near & is_free].tolist())
                is_free &= ~is_near
        left = left[is_free]
    return groups


def at_least(hits: list[Hit], least: float) -> list[Hit]:
    """The hits and near-duplicates that are at least so similar to the query."""
    near = [hit for hit in hits if hit.similarity >= least]
    return [replace(hit, duplicates=tuple(each for each in hit.duplicates if each.similarity >= least)) for hit in near]
