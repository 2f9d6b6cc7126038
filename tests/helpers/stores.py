"""Both homes of an index, and what a store must do, in a few obviously right lines."""

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from photo_search.folder_store import FolderStore
from photo_search.index import unit
from photo_search.milvus_address import MilvusAddress
from photo_search.milvus_client import import_pymilvus
from photo_search.store import PhotoFile, Store

HOMES = ("folder", "milvus")
HAS_MILVUS = all(importlib.util.find_spec(name) for name in ("pymilvus", "milvus_lite"))
if HAS_MILVUS:
    import_pymilvus()  # before a test imports it in another way, which closes streams that pytest still needs


def require_home(home: str) -> str:
    """The home; a test that needs Milvus is skipped where it is not installed."""
    if home == "milvus" and not HAS_MILVUS:
        pytest.skip("pymilvus and milvus-lite are not installed")
    return home


def lite_address(folder: Path, name: str = "photos") -> MilvusAddress:
    """Of the Milvus Lite file beside the folder of an index."""
    return MilvusAddress(f"{folder}.db", name)


def open_home(home: str, folder: Path, make: bool = False) -> Store:
    """The store of an index in this folder, or in the Lite file beside it."""
    if home == "folder":
        return FolderStore(folder, make)
    from photo_search.milvus_store import MilvusStore

    return MilvusStore(folder, lite_address(folder), "", make)


def release_lite(file: Path) -> None:
    """Let go of a Milvus Lite file, which this process otherwise holds until its end."""
    from milvus_lite.server_manager import server_manager_instance

    server_manager_instance.release_server(str(file))


def random_unit(count: int, width: int, seed: int = 0) -> np.ndarray:
    """Vectors (count, width) float32."""
    return unit(np.random.default_rng(seed).standard_normal((count, width)))


@dataclasses.dataclass
class PlainStore:
    """{path: (photo, vector)} and {path: (photo, reason)}."""

    readable: dict[str, tuple[PhotoFile, np.ndarray]] = dataclasses.field(default_factory=dict)
    faulty: dict[str, tuple[PhotoFile, str]] = dataclasses.field(default_factory=dict)

    def add(self, photos, vectors, faults):
        self.remove([*photos, *faults])
        self.readable |= {photo.path: (photo, vector) for photo, vector in zip(photos, vectors, strict=True)}
        self.faulty |= {photo.path: (photo, reason) for photo, reason in faults.items()}

    def remove(self, photos):
        for photo in photos:
            self.readable.pop(photo.path, None)
            self.faulty.pop(photo.path, None)

    def known(self, shard=""):
        every = {**self.readable, **self.faulty}
        return {path: photo for path, (photo, _) in every.items() if photo.shard == shard}

    def best(self, query, k):
        """[(cosine, path)], the most similar first."""
        cosines = [(float(vector.astype(np.float64) @ query), path) for path, (_, vector) in self.readable.items()]
        return sorted(cosines, reverse=True)[:k]
