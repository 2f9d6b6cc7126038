"""Asking an index: vectors of drawings or photos → the photos most like them that are still there."""

import os
from dataclasses import dataclass

import numpy as np
from PIL import Image

from datasets.images import decode
from datasets.sketch_cleanup import as_training_sketch
from photo_search.encoder import Network
from photo_search.folder import IndexFolder
from utils.errors import InputError

FACTOR = 4  # as many more are asked for each time that too many photos turn out to have gone,
FARTHEST = 5_000  # up to so many: of a drive that is away, all have


@dataclass(frozen=True)
class Hit:
    """A photo; similarity: the cosine in [-1, 1], or its estimate from codes."""

    id: int
    path: str
    similarity: float


class Searcher:
    """An index and the network it was made with, ready to be asked; photos that have gone from the disk are passed over."""

    def __init__(self, folder: IndexFolder, network: Network):
        folder.belong_to(network)
        self.folder, self.network = folder, network
        self._indexes = {}

    def of_drawing(self, drawing: Image.Image, k: int, codes: bool = False) -> list[Hit]:
        """Raises InputError if the drawing is empty."""
        return self.of_pixels(self.pixels(drawing), k, codes)

    def pixels(self, drawing: Image.Image) -> np.ndarray:
        """As the network sees it. Raises InputError if the drawing is empty."""
        return as_training_sketch(drawing, self.network.side)

    def of_pixels(self, pixels: np.ndarray, k: int, codes: bool = False) -> list[Hit]:
        """Of what `pixels` gave."""
        return self.of_vector(self.network.embed_sketches(pixels[None])[0], k, codes)

    def of_photo(self, path: str, k: int, codes: bool = False) -> list[Hit]:
        """Photos like one on disk, which need not be indexed. Raises InputError if it cannot be read."""
        pixels = decode(path, self.network.side)
        return self.of_vector(self.network.embed_photos(pixels[None])[0], k, codes)

    def like(self, id_: int, k: int, codes: bool = False) -> list[Hit]:
        """Photos like an indexed one, and not that one. Raises InputError if it is no longer indexed."""
        found, vectors = self.folder.store.vectors([id_])
        if not len(found):
            raise InputError("that photo is no longer in the index; search again")
        return [hit for hit in self.of_vector(vectors[0], k + 1, codes) if hit.id != id_][:k]

    def of_vector(self, vector: np.ndarray, k: int, codes: bool = False) -> list[Hit]:
        """The k best for (d,), the best first."""
        index = self._index(codes)
        if index is None:
            return []
        wanted = k
        while True:
            ids, similarity = index.search(vector[None], min(wanted, len(index)))
            hits = self._there(ids[0], similarity[0])
            if len(hits) >= k or wanted >= min(len(index), FARTHEST):
                return hits[:k]
            wanted = max(k, min(wanted * FACTOR, FARTHEST))

    def _there(self, ids: np.ndarray, similarity: np.ndarray) -> list[Hit]:
        paths = self.folder.store.paths_of(ids)
        hits = (Hit(id_, paths[id_], float(value)) for id_, value in zip(ids.tolist(), similarity, strict=True) if id_ in paths)
        return [hit for hit in hits if os.path.isfile(hit.path)]

    def _index(self, codes: bool):
        """As the photos are now: another process may have changed them."""
        index = self._indexes.get(codes)
        if index is None or index.notes.get("revision") != self.folder.store.revision:
            index = self._indexes[codes] = self.folder.searched(codes, index)
        return index
