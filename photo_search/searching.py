"""Drawings and photos → the most similar indexed photos that still exist."""

import os
from dataclasses import dataclass

import numpy as np
from PIL import Image

from datasets.images import decode
from datasets.sketch_cleanup import as_training_sketch
from photo_search.encoder import Network
from photo_search.folder import IndexFolder
from photo_search.index import VectorIndex
from utils.errors import InputError

GROWTH = 4  # the search asks for so many times as many if too many photos turn out to be gone,
LARGEST_SEARCH = 5_000  # up to so many: on a drive that is away, all are


@dataclass(frozen=True)
class Hit:
    """An indexed photo; similarity: the cosine in [-1, 1], or its estimate from codes."""

    id: int
    path: str
    similarity: float


class Searcher:
    """An index and the network that made it. Photos that are gone from the disk are left out."""

    def __init__(self, folder: IndexFolder, network: Network):
        folder.belong_to(network)
        self.folder, self.network = folder, network
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
        vector = self.folder.store.vector(id_)
        if vector is None:
            raise InputError("that photo is no longer in the index; search again")
        return [hit for hit in self.of_vector(vector, k + 1, codes) if hit.id != id_][:k]

    def of_vector(self, vector: np.ndarray, k: int, codes: bool = False) -> list[Hit]:
        """vector: (d,)."""
        index = self._indexes[codes] = self.folder.load_index(codes, self._indexes.get(codes))
        if index is None:
            return []
        wanted = k
        while True:
            ids, similarity = index.search(vector[None], wanted)
            hits = self._existing(ids[0], similarity[0])
            if len(hits) >= k or wanted >= min(len(index), LARGEST_SEARCH):
                return hits[:k]
            wanted = max(k, min(wanted * GROWTH, LARGEST_SEARCH))

    def _existing(self, ids: np.ndarray, similarity: np.ndarray) -> list[Hit]:
        paths = self.folder.store.paths_of(ids)
        hits = (Hit(id_, paths[id_], float(value)) for id_, value in zip(ids.tolist(), similarity, strict=True) if id_ in paths)
        return [hit for hit in hits if os.path.isfile(hit.path)]
