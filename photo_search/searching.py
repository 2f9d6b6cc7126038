"""Drawings and photos → the most similar indexed photos that still exist."""

import os
from dataclasses import dataclass

import numpy as np
from PIL import Image

from datasets.images import decode
from datasets.sketch_cleanup import as_training_sketch
from photo_search.encoder import Network
from photo_search.index import VectorIndex, up_to_date
from photo_search.store import Store
from utils.errors import InputError

MOST_CANDIDATES = 5_000  # looked at where photos turn out to be gone: on a drive that is away, all are


@dataclass(frozen=True)
class Hit:
    """An indexed photo; similarity: the cosine in [-1, 1], or its estimate from codes."""

    id: int
    path: str
    similarity: float


class Searcher:
    """An index and the network that made it. Photos that are gone from the disk are left out."""

    def __init__(self, store: Store, network: Network):
        store.belong_to(network)
        self.store, self.network = store, network
        self._indexes: dict[bool, VectorIndex | None] = {}

    def of_drawing(self, drawing: Image.Image, k: int, codes: bool = False) -> list[Hit]:
        """The k photos most similar to a drawing, the most similar first. Raises InputError if the drawing is empty."""
        pixels = as_training_sketch(drawing, self.network.side)
        return self.of_vector(self.network.embed_sketches(pixels[None])[0], k, codes)

    def of_photo(self, path: str, k: int, codes: bool = False) -> list[Hit]:
        """The query is a photo file, indexed or not. Raises InputError if it cannot be read."""
        pixels = decode(path, self.network.side)
        return self.of_vector(self.network.embed_photos(pixels[None])[0], k, codes)

    def like(self, id_: int, k: int, codes: bool = False) -> list[Hit]:
        """The query is an indexed photo, which is left out. Raises InputError if it is no longer indexed."""
        vector = self.store.vector(id_)
        if vector is None:
            raise InputError("that photo is no longer in the index; search again")
        return [hit for hit in self.of_vector(vector, k + 1, codes) if hit.id != id_][:k]

    def of_vector(self, vector: np.ndarray, k: int, codes: bool = False) -> list[Hit]:
        """vector: (d,)."""
        index = self._indexes[codes] = up_to_date(self.store, codes, self._indexes.get(codes))
        if index is None:
            return []
        hits = self._existing(index, vector, k)
        return hits if len(hits) == k else self._existing(index, vector, max(k, MOST_CANDIDATES))[:k]

    def _existing(self, index: VectorIndex, vector: np.ndarray, candidates: int) -> list[Hit]:
        ids, similarity = (found[0].tolist() for found in index.search(vector[None], candidates))
        paths = self.store.paths_of(ids)
        hits = (Hit(id_, paths[id_], value) for id_, value in zip(ids, similarity, strict=True) if id_ in paths)
        return [hit for hit in hits if os.path.isfile(hit.path)]
