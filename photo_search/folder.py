"""An index on disk: a folder with the database of the photos and the files that are searched, which follow from it."""

import contextlib
import sys
import tempfile
from pathlib import Path

from photo_search.encoder import Network
from photo_search.index import KINDS, VectorIndex, build, checksum_file, choose_kind, load
from photo_search.store import FORMAT, DiskFull, Store
from utils.errors import InputError, is_disk_full
from utils.files import remove_unfinished
from utils.text import printable

PHOTOS, VECTORS, CODES = "photos.sqlite", "vectors.index", "codes.index"
AUTO = "auto"


class IndexFolder:
    """Raises InputError if there is no index, or a damaged one. `make` makes an empty one where there is none."""

    def __init__(self, path: Path, make: bool = False):
        self.path = path
        if make:
            _make(path)
        elif not (path / PHOTOS).is_file():
            raise InputError(f"{path}: no index there; make one with `python search.py index PHOTOS --checkpoint FILE -o {path}`")
        self.store = Store(path / PHOTOS)
        if self.store.fact("kind", AUTO) not in (AUTO, *KINDS):  # of an earlier version
            print(f"note: {path}: --kind {self.store.fact('kind')} no longer exists; auto is used instead", file=sys.stderr)
            with contextlib.suppress(InputError):
                self.store.keep_facts(kind=AUTO)

    def belong_to(self, network: Network) -> None:
        """Record the network that computes the vectors. Raises InputError if they were computed by another one."""
        made_by, recorded = self.store.fact("network"), self.store.fact("checkpoint")
        checkpoint = str(network.checkpoint.resolve())
        if made_by is None:
            facts = {"network": network.digest, "checkpoint": checkpoint, "side": network.side, "width": network.width}
            self.store.keep_facts(format=FORMAT, **facts)
        elif made_by != network.digest:
            other = "what that file held before" if recorded == checkpoint else f"another checkpoint ({recorded})"
            raise InputError(
                f"{self.path}: was made with {other}, whose vectors do not compare with those of {network.checkpoint}; "
                "give the one it was made with, or index into another folder"
            )
        elif self.store.fact("side") != network.side:
            raise InputError(f"{self.path}: was made at --image_size {self.store.fact('side')}, not {network.side}")
        elif not Path(str(recorded)).is_file():  # it was moved
            with contextlib.suppress(InputError):  # where nothing can be written, --checkpoint is needed each time
                self.store.keep_facts(checkpoint=checkpoint)

    def load_index(self, codes: bool = False, current: VectorIndex | None = None, must_save: bool = False) -> VectorIndex | None:
        """The index, brought up to date with the database; None if there are no photos.

        current: what was returned before; it is updated in memory. Without it, the file is read, and written if it was not up
        to date. must_save: raise DiskFull if the disk is full, instead of printing a note.
        """
        file = self.path / (CODES if codes else VECTORS)
        revision = self.store.revision  # first: a change from here on is seen the next time
        if current is not None and current.revision == revision:
            return current
        if len(self.store) == 0:
            return None
        index = self._load(file) if current is None else current
        if index is None or index.revision != revision or index.kind not in ("codes", self._kind):
            index = self._updated(index, codes)
            index.revision = revision
            if current is None:
                self._save(index, file, must_save)
        return index

    def remove_unfinished(self) -> None:
        """Remove what a process left that was killed while it wrote a file."""
        for name in (VECTORS, CODES):
            remove_unfinished(self.path / name)
            remove_unfinished(checksum_file(self.path / name))

    def _updated(self, index: VectorIndex | None, codes: bool) -> VectorIndex:
        if index is not None:
            ids, vectors = self.store.vectors(above=index.last_id)
            if len(index) + len(ids) != len(self.store):  # some photos are gone
                index.clear()
                ids, vectors = self.store.vectors()
            index.add(ids, vectors)
        kind = "codes" if codes else self._kind
        if index is None or index.is_outgrown or index.kind != kind:
            index = build(kind, *self.store.vectors())
        return index

    @property
    def _kind(self) -> str:
        chosen = self.store.fact("kind", AUTO)
        return choose_kind(len(self.store), self.store.fact("width")) if chosen == AUTO else chosen

    @property
    def _owner(self) -> str:
        return f"{self.store.identity} {self.store.fact('network')}"

    def _load(self, file: Path) -> VectorIndex | None:
        if not checksum_file(file).exists():  # there is none yet, or an earlier version wrote it
            return None
        try:
            return load(file, self._owner)
        except InputError as error:
            print(f"note: {printable(error)}; building it again from {PHOTOS}", file=sys.stderr)
            return None

    def _save(self, index: VectorIndex, file: Path, must_save: bool) -> None:
        try:
            index.save(file, self._owner)
        except (InputError, OSError) as error:
            if must_save and is_disk_full(error):
                raise DiskFull(self.path) from error
            print(f"note: {printable(f'{file} cannot be written ({error})')}; searched from memory", file=sys.stderr)


def _make(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise InputError(f"{path}: nothing can be written there ({error.strerror}); choose another --output") from error
