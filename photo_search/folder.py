"""An index on disk: a folder with what is known of the photos, and with the files that are searched, which follow from that."""

import tempfile
from pathlib import Path

import numpy as np

from photo_search.embedding import Network
from photo_search.store import FORMAT, Store
from retrieval import vector_index
from retrieval.vector_index import VectorIndex
from utils.errors import InputError

PHOTOS = "photos.sqlite"
REAL, CODES = "vectors.index", "codes.index"  # what is searched


def _make(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise InputError(f"{path}: nothing can be written there ({error.strerror}); choose another --output") from error


class IndexFolder:
    """Raises InputError if there is no index, or it is damaged; `make`: an empty one is made where there is none."""

    def __init__(self, path: Path, make: bool = False):
        self.path = path
        if make:
            _make(path)
        elif not (path / PHOTOS).is_file():
            raise InputError(f"{path}: no index there; make one with `python search.py index PHOTOS --checkpoint FILE -o {path}`")
        self.store = Store(path / PHOTOS)

    def belong_to(self, network: Network) -> None:
        """Note the network that the vectors are of. Raises InputError if they are of another."""
        made_by = self.store.fact("network")
        if made_by is None:
            facts = {"network": network.digest, "checkpoint": str(network.checkpoint.resolve())}
            self.store.keep_facts(format=FORMAT, side=network.side, width=network.width, **facts)
        elif made_by != network.digest:
            raise InputError(
                f"{self.path}: was made with another checkpoint ({self.store.fact('checkpoint')}), whose vectors do not compare "
                f"with those of {network.checkpoint}; give that one, or index into another folder"
            )
        elif self.store.fact("side") != network.side:
            raise InputError(f"{self.path}: was made at --image_size {self.store.fact('side')}, not {network.side}")

    def searched(self, codes: bool = False, kind: str | None = None) -> VectorIndex | None:
        """What is searched, brought up to date and kept so; None where there are no photos.

        codes: binary ones (they are fitted where there are none, and again once the photos are four times as many). kind: of the
        other, see `vector_index.KINDS`; None: as it was, or else by size.
        """
        file = self.path / (CODES if codes else REAL)
        index = self._loaded(file)
        if len(self.store) == 0:
            return None
        if index is None or index.outgrown or (kind not in (None, "auto", index.kind) and not codes):
            index = vector_index.build("codes" if codes else kind or "auto", *self.store.vectors())
        elif index.notes.get("revision") == self.store.revision:
            return index
        else:
            self._catch_up(index)
        index.notes = {"revision": self.store.revision, "network": self.store.fact("network")}
        index.save(file)
        return index

    def _loaded(self, file: Path) -> VectorIndex | None:
        """It follows from the photos, so a damaged one is made anew."""
        if not file.exists():
            return None
        try:
            index = vector_index.load(file)
        except InputError as error:
            print(f"note: {error}; making it anew")
            return None
        return index if index.notes.get("network") == self.store.fact("network") else None

    def _catch_up(self, index: VectorIndex) -> None:
        there = self.store.ids()
        gone = np.setdiff1d(index.ids, there)
        if len(gone):
            index.remove(gone)
        new = np.setdiff1d(there, index.ids)
        if len(new):
            index.add(*self.store.vectors(new))
