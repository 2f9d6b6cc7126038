"""An index on disk: a folder with what is known of the photos, and with the files that are searched, which follow from that."""

import contextlib
import sys
import tempfile
from pathlib import Path

import numpy as np

from photo_search.encoder import Network
from photo_search.store import FORMAT, DiskFull, Store
from retrieval import vector_index
from retrieval.vector_index import VectorIndex, choose_kind
from utils.errors import InputError, is_disk_full
from utils.files import remove_unfinished
from utils.text import printable

PHOTOS = "photos.sqlite"
AUTO = "auto"
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
        made_by, checkpoint = self.store.fact("network"), str(network.checkpoint.resolve())
        if made_by is None:
            facts = {"network": network.digest, "checkpoint": checkpoint}
            self.store.keep_facts(format=FORMAT, side=network.side, width=network.width, **facts)
            return
        recorded = self.store.fact("checkpoint")
        if made_by != network.digest:
            other = "what that file held before" if recorded == checkpoint else f"another checkpoint ({recorded})"
            raise InputError(
                f"{self.path}: was made with {other}, whose vectors do not compare with those of {network.checkpoint}; "
                "give the one it was made with, or index into another folder"
            )
        if self.store.fact("side") != network.side:
            raise InputError(f"{self.path}: was made at --image_size {self.store.fact('side')}, not {network.side}")
        if not Path(recorded).is_file():  # it has been moved
            with contextlib.suppress(InputError):  # where nothing can be written, it is named each time
                self.store.keep_facts(checkpoint=checkpoint)

    def searched(self, codes: bool = False, current: VectorIndex | None = None, must_keep: bool = False) -> VectorIndex | None:
        """What is searched, brought up to date; None where there are no photos.

        codes: binary ones (fitted where there are none, and again once the photos are four times as many). current: what this
        gave before: brought up to date in memory; without it, what is in the folder is, and kept there. must_keep: raise DiskFull
        where there is no room to keep it; otherwise that is a note.
        """
        file = self.path / (CODES if codes else REAL)
        index = self._loaded(file) if current is None else current
        revision = self.store.revision  # first: what changes from here on is found again the next time
        if len(self.store) == 0:
            return None
        if index is not None and index.notes.get("revision") == revision and self._fits(index):
            return index
        if index is not None:
            self._catch_up(index)
        if index is None or index.outgrown or not self._fits(index):
            index = vector_index.build("codes" if codes else self._kind(), *self.store.vectors())
        index.notes = {"revision": revision, "network": self.store.fact("network"), "photos": self.store.identity}
        if current is None:
            self._keep(index, file, must_keep)
        return index

    def remove_unfinished(self) -> None:
        """What a process that was killed while it wrote has left."""
        for name in (REAL, CODES):
            remove_unfinished(self.path / name)

    def _kind(self, now: str | None = None) -> str:
        """What was asked for, or else by size; `now` stays until the photos are half as many as it is chosen for."""
        asked, width = self.store.fact("kind", AUTO), int(self.store.fact("width"))
        if asked != AUTO:
            return asked
        return now if now == choose_kind(2 * len(self.store), width) else choose_kind(len(self.store), width)

    def _fits(self, index: VectorIndex) -> bool:
        return index.kind == "codes" or index.kind == self._kind(index.kind)

    def _loaded(self, file: Path) -> VectorIndex | None:
        """It follows from the photos, so a damaged one is made anew."""
        if not file.exists():
            return None
        try:
            index = vector_index.load(file)
        except InputError as error:
            print(f"note: {printable(error)}; making it anew", file=sys.stderr)
            return None
        belongs = (index.notes.get("network"), index.notes.get("photos")) == (self.store.fact("network"), self.store.identity)
        return index if belongs else None

    def _keep(self, index: VectorIndex, file: Path, must_keep: bool) -> None:
        try:
            index.save(file)
        except (InputError, OSError) as error:
            if must_keep and is_disk_full(error):
                raise DiskFull(self.path) from error
            print(f"note: {printable(f'{file} cannot be written ({error})')}; searched from memory", file=sys.stderr)

    def _catch_up(self, index: VectorIndex) -> None:
        there = self.store.ids()
        gone = np.setdiff1d(index.ids, there)
        if len(gone):
            index.remove(gone)
        new = np.setdiff1d(there, index.ids)
        if len(new):
            index.add(*self.store.vectors(new))
