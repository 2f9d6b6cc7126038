"""An index on disk: a folder with one SQLite file of the photos and their vectors, whose changes are made whole or not at all."""

import contextlib
import json
import os
import secrets
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.names import DOWNLOAD
from photo_search.config import SUGGESTED
from photo_search.network import Network
from utils.errors import InputError

FILE, FORMAT = "photos.sqlite", 1
TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS photos (
    id INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB UNIQUE NOT NULL, size INTEGER NOT NULL, changed INTEGER NOT NULL,
    vector BLOB NOT NULL, revision INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS unreadable (path BLOB PRIMARY KEY, size INTEGER, changed INTEGER, reason TEXT);
"""
LINKS = "TABLE IF NOT EXISTS links (path BLOB PRIMARY KEY, real BLOB NOT NULL)"


@dataclass(frozen=True)
class PhotoFile:
    """A photo on disk; `changed` is its modification time in nanoseconds."""

    path: str
    size: int
    changed: int


class Store:
    """Photos and their vectors (d,) float32. An id is never used twice, so a later photo has a higher one.

    make: make an empty index where there is none. Raises InputError if there is none, if it is damaged or from another program,
    and, on any change, if the disk is full.
    """

    def __init__(self, folder: Path, make: bool = False):
        self.folder, self.file = folder, folder / FILE
        if make:
            _make(folder)
        elif not self.file.is_file():
            raise InputError(
                f"{folder}: no index there; make one with `python search.py index PHOTOS --arch {SUGGESTED} -o {folder}`, "
                "or with --checkpoint FILE in place of --arch"
            )
        with self._faults_named():
            self.connection = sqlite3.connect(self.file, timeout=30, check_same_thread=False)
            self.connection.executescript(TABLES)
            try:
                self.connection.execute(f"CREATE {LINKS}")
            except sqlite3.OperationalError:  # an older index has none, and nothing can be written there
                self.connection.execute(f"CREATE TEMP {LINKS}")
        if self.fact("format", FORMAT) != FORMAT:
            raise InputError(f"{self.file}: was made by another version; index the photos again, into another folder")
        if self.fact("identity") is None:  # an id of a photo means something in its own index only
            self.keep_facts(identity=secrets.token_hex(8))

    def belong_to(self, network: Network) -> None:
        """Record the network that computes the vectors. Raises InputError if they were computed by another one."""
        place, option = ("weights", "pretrained_weights") if network.untrained else ("checkpoint", "checkpoint")
        made_by, recorded = self.fact("network"), self.fact(place)
        if made_by is None:
            facts = {"network": network.digest, place: network.weights, "side": network.side, "width": network.width}
            if network.untrained:
                facts["untrained"] = network.untrained
            self.keep_facts(format=FORMAT, **facts)
        elif made_by != network.digest:
            if recorded == network.weights:
                other = "what was downloaded before" if recorded == DOWNLOAD else "what that file held before"
            else:
                other = f"{'other weights' if network.untrained else 'another checkpoint'} ({recorded})"
            raise InputError(
                f"{self.folder}: was made with {other}, whose vectors do not compare with those of {network.weights}; "
                f"give the same weights by --{option}, or index into another folder"
            )
        elif self.fact("side") != network.side:
            raise InputError(f"{self.folder}: was made at --image_size {self.fact('side')}, not {network.side}")
        elif recorded != network.weights and not Path(str(recorded)).exists():  # it was moved
            with contextlib.suppress(InputError):  # where nothing can be written, the file must be named each time
                self.keep_facts(**{place: network.weights})

    def fact(self, name: str, default: Any = None) -> Any:
        """What `keep_facts` recorded under this name."""
        rows = self._rows("SELECT value FROM facts WHERE name = ?", name)
        with self._faults_named():
            return json.loads(rows[0][0]) if rows else default

    def keep_facts(self, **facts: Any) -> None:
        """Record values that JSON can hold."""
        with self.changes() as connection:
            rows = [(name, json.dumps(value)) for name, value in facts.items()]
            connection.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", rows)

    @contextlib.contextmanager
    def changes(self) -> Iterator[sqlite3.Connection]:
        """Make all changes of the block, or none."""
        with self._faults_named(), self.connection:
            yield self.connection

    def __len__(self) -> int:
        return self._rows("SELECT COUNT(*) FROM photos")[0][0]

    @property
    def revision(self) -> int:
        """Grows with each change of the photos."""
        with self._faults_named():
            return int(self.fact("revision", 0))

    @property
    def width(self) -> int:
        """The length of the vectors."""
        with self._faults_named():
            width = int(self.fact("width", 0))
            if width < 1 < len(self):
                raise ValueError(f"vectors of {width} numbers")
        return width

    def known(self) -> dict[str, tuple[int, int]]:
        """{path: (size, changed)} of all photos, unreadable ones included."""
        rows = self._rows("SELECT path, size, changed FROM photos UNION ALL SELECT path, size, changed FROM unreadable")
        return {os.fsdecode(path): (size, changed) for path, size, changed in rows}

    def unreadable(self) -> dict[str, str]:
        """{path: reason}."""
        return {os.fsdecode(path): reason for path, reason in self._rows("SELECT path, reason FROM unreadable")}

    def put(
        self, photos: Sequence[PhotoFile], vectors: np.ndarray, faults: dict[PhotoFile, str], gone: Iterable[str] = ()
    ) -> None:
        """Add photos, or replace them under new ids; vectors (len(photos), d). Forget paths that are `gone`.

        faults: unreadable photos and the reasons.
        """
        revision, pairs = self.revision + 1, zip(photos, vectors, strict=True)
        readable = [(os.fsencode(p.path), p.size, p.changed, vector.astype("<f4").tobytes(), revision) for p, vector in pairs]
        unreadable = [(os.fsencode(photo.path), photo.size, photo.changed, reason) for photo, reason in faults.items()]
        forgotten = [(os.fsencode(path),) for path in (*(photo.path for photo in (*photos, *faults)), *gone)]
        with self.changes() as connection:
            connection.executemany("DELETE FROM photos WHERE path = ?", forgotten)
            connection.executemany("DELETE FROM unreadable WHERE path = ?", forgotten)
            connection.executemany("INSERT INTO photos (path, size, changed, vector, revision) VALUES (?, ?, ?, ?, ?)", readable)
            connection.executemany("INSERT INTO unreadable VALUES (?, ?, ?, ?)", unreadable)
            connection.execute("INSERT OR REPLACE INTO facts VALUES ('revision', ?)", (json.dumps(revision),))

    def remove(self, paths: Iterable[str]) -> None:
        self.put([], np.empty((0, 0)), {}, paths)

    def vectors(self, above: int = -1, most: int = -1) -> tuple[np.ndarray, np.ndarray]:
        """Ids (n,) int64, ascending, and vectors (n, d) of the first `most` photos (-1: all) with higher ids than `above`."""
        rows = self._rows("SELECT id, vector FROM photos WHERE id > ? ORDER BY id LIMIT ?", above, most)
        with self._faults_named():
            vectors = np.frombuffer(b"".join(row[1] for row in rows), "<f4").reshape(len(rows), self.width)
        return np.array([row[0] for row in rows], np.int64), vectors

    def vector(self, id_: int) -> np.ndarray | None:
        """(d,), or None for a photo that is not, or no longer, indexed."""
        rows = self._rows("SELECT vector FROM photos WHERE id = ?", int(id_))
        return np.frombuffer(rows[0][0], "<f4") if rows else None

    def vectors_of(self, ids: Iterable[int]) -> dict[int, np.ndarray]:
        """{id: vector (d,)} of those ids that are indexed."""
        wanted = json.dumps([int(id_) for id_ in ids])
        rows = self._rows("SELECT id, vector FROM photos WHERE id IN (SELECT value FROM json_each(?))", wanted)
        return {id_: np.frombuffer(vector, "<f4") for id_, vector in rows}

    def paths_of(self, ids: Iterable[int]) -> dict[int, str]:
        """{id: path} of those ids that are indexed."""
        wanted = json.dumps([int(id_) for id_ in ids])
        rows = self._rows("SELECT id, path FROM photos WHERE id IN (SELECT value FROM json_each(?))", wanted)
        return {id_: os.fsdecode(path) for id_, path in rows}

    def keep_links(self, links: dict[str, str], places: Iterable[str]) -> None:
        """Record {path of a file or folder: its target}, in place of what was recorded of paths in `places`."""
        rows = [(os.fsencode(path), os.fsencode(real)) for path, real in links.items()]
        with self.changes() as connection:
            for place in map(os.fsencode, places):
                below = place.rstrip(os.fsencode(os.sep)) + os.fsencode(os.sep)
                connection.execute("DELETE FROM links WHERE path = ? OR substr(path, 1, ?) = ?", (place, len(below), below))
            connection.executemany("INSERT OR REPLACE INTO links VALUES (?, ?)", rows)

    def real_path(self, path: str) -> str:
        """Where an indexed photo's absolute path led when it was indexed: `path` itself, if it held no link."""
        for place in (path, *map(str, Path(path).parents)):
            rows = self._rows("SELECT real FROM links WHERE path = ?", os.fsencode(place))
            if rows:
                return os.path.normpath(os.path.join(os.fsdecode(rows[0][0]), os.path.relpath(path, place)))
        return path

    def _rows(self, query: str, *values: Any) -> list[tuple]:
        with self._faults_named():
            return self.connection.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _faults_named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "is full" in str(error):
                advice = "free some space, then run the same command again: what is indexed is kept"
                raise InputError(f"{self.folder}: the disk is full; {advice}") from error
            raise InputError(f"{self.file}: {error}; check that it may be written, and that no other program holds it") from error
        except (sqlite3.Error, ValueError, TypeError) as error:
            raise InputError(f"{self.file}: damaged ({error}); index the photos again, into another folder") from error


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(f"{folder}: nothing can be written there ({error.strerror}); choose another --output") from error
