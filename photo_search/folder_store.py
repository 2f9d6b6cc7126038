"""An index in a folder: one SQLite file of the photos and their vectors, whose changes are made whole or not at all."""

import contextlib
import json
import os
import secrets
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from photo_search.config import SUGGESTED
from photo_search.index import VectorIndex, up_to_date
from photo_search.store import FORMAT, Found, PhotoFile, ShardState, Store
from utils.errors import InputError

FILE = "photos.sqlite"
RECALL_AT = 20
TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS photos (
    id INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB UNIQUE NOT NULL, size INTEGER NOT NULL, changed INTEGER NOT NULL,
    vector BLOB NOT NULL, revision INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS unreadable (path BLOB PRIMARY KEY, size INTEGER, changed INTEGER, reason TEXT);
"""
LATER_TABLES = (  # which indexes of earlier versions lack
    "links (path BLOB PRIMARY KEY, real BLOB NOT NULL)",
    "members (path BLOB PRIMARY KEY, shard BLOB NOT NULL, offset INTEGER NOT NULL)",
    "shards (shard BLOB PRIMARY KEY, size INTEGER NOT NULL, changed INTEGER NOT NULL, is_done INTEGER NOT NULL)",
)


class FolderStore(Store):
    """Photos in a folder. An id is never used twice, so a later photo has a higher one. faiss searches the vectors in memory.

    make: make an empty index where there is none. Raises InputError if there is none, if it is damaged or from another program,
    and, on any change, if the disk is full.
    """

    def __init__(self, folder: Path, make: bool = False):
        self.folder, self.file, self.place = folder, folder / FILE, str(folder)
        self._indexes: dict[bool, VectorIndex | None] = {}
        if make:
            _make(folder)
        elif not self.file.is_file():
            raise InputError(
                f"{folder}: no index there; check the name, or make one with "
                f"`python search.py index PHOTOS --arch {SUGGESTED} -o {folder}`, or with --checkpoint FILE in place of --arch"
            )
        with self._faults_named():
            self.connection = sqlite3.connect(self.file, timeout=30, check_same_thread=False)
            self.connection.executescript(TABLES)
            for table in LATER_TABLES:
                try:
                    self.connection.execute(f"CREATE TABLE IF NOT EXISTS {table}")
                except sqlite3.OperationalError:  # nothing can be written there
                    self.connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS {table}")
            with contextlib.suppress(sqlite3.OperationalError):
                self.connection.execute("CREATE INDEX IF NOT EXISTS members_by_shard ON members (shard)")
        if self.fact("format", FORMAT) != FORMAT:
            raise InputError(f"{self.file}: was made by another version; index the photos again, into another folder")
        if self.fact("identity") is None:  # an id of a photo means something in its own index only
            self.keep_facts(identity=secrets.token_hex(8))

    def fact(self, name: str, default: Any = None) -> Any:
        rows = self._rows("SELECT value FROM facts WHERE name = ?", name)
        with self._faults_named():
            return json.loads(rows[0][0]) if rows else default

    def keep_facts(self, **facts: Any) -> None:
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

    def known(self, shard: str = "") -> dict[str, PhotoFile]:
        if shard:
            chosen = "{} JOIN members USING (path) WHERE shard = ?"
            rows = self._both(f"SELECT path, size, changed, shard, offset FROM {chosen}", os.fsencode(shard))
            return {photo.path: photo for photo in (_photo(*row) for row in rows)}
        rows = self._both("SELECT path, size, changed FROM {} WHERE path NOT IN (SELECT path FROM members)")
        return {(name := os.fsdecode(path)): PhotoFile(name, size, changed) for path, size, changed in rows}

    def unreadable(self) -> dict[str, str]:
        return {os.fsdecode(path): reason for path, reason in self._rows("SELECT path, reason FROM unreadable")}

    def faults(self) -> dict[PhotoFile, str]:
        """{unreadable photo: reason}."""
        rows = self._rows("SELECT path, size, changed, shard, offset, reason FROM unreadable LEFT JOIN members USING (path)")
        return {_photo(path, *row): reason for path, *row, reason in rows}

    def add(self, photos: Sequence[PhotoFile], vectors: np.ndarray, faults: dict[PhotoFile, str]) -> None:
        revision, pairs = self.revision + 1, zip(photos, vectors, strict=True)
        readable = [(os.fsencode(p.path), p.size, p.changed, vector.astype("<f4").tobytes(), revision) for p, vector in pairs]
        unreadable = [(os.fsencode(photo.path), photo.size, photo.changed, reason) for photo, reason in faults.items()]
        members = [(os.fsencode(p.path), os.fsencode(p.shard), p.offset) for p in (*photos, *faults) if p.shard]
        with self.changes() as connection:
            self._forget([*photos, *faults])
            connection.executemany("INSERT INTO photos (path, size, changed, vector, revision) VALUES (?, ?, ?, ?, ?)", readable)
            connection.executemany("INSERT INTO unreadable VALUES (?, ?, ?, ?)", unreadable)
            connection.executemany("INSERT INTO members VALUES (?, ?, ?)", members)
            self._count_revision(revision)

    def remove(self, photos: Iterable[PhotoFile]) -> None:
        revision = self.revision + 1
        with self.changes():
            self._forget(photos)
            self._count_revision(revision)

    def search(self, queries: np.ndarray, k: int, codes: bool = False) -> Found:
        index = self._indexes[codes] = up_to_date(self, codes, self._indexes.get(codes))
        if index is None:
            return np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
        return index.search(queries, k)

    def prepare(self, codes: bool) -> str:
        index = up_to_date(self, codes)
        if index is None:
            return "no photo is left in the index"
        if index.kind == "exact":
            return "searched exactly"
        how = f"codes of {index.bits} bits" if codes else f"searched by {index.kind}"
        share = index.recall_at(RECALL_AT, *self.vectors())
        return f"{how}: {share:.1%} of the {RECALL_AT} most similar photos are found"

    def vectors(self, above: int = -1, most: int = -1) -> tuple[np.ndarray, np.ndarray]:
        """Ids (n,) int64, ascending, and vectors (n, d) of the first `most` photos (-1: all) with higher ids than `above`."""
        rows = self._rows("SELECT id, vector FROM photos WHERE id > ? ORDER BY id LIMIT ?", above, most)
        with self._faults_named():
            vectors = np.frombuffer(b"".join(row[1] for row in rows), "<f4").reshape(len(rows), self.width)
        return np.array([row[0] for row in rows], np.int64), vectors

    def vectors_of(self, ids: Iterable[int]) -> dict[int, np.ndarray]:
        wanted = json.dumps([int(id_) for id_ in ids])
        rows = self._rows("SELECT id, vector FROM photos WHERE id IN (SELECT value FROM json_each(?))", wanted)
        return {id_: np.frombuffer(vector, "<f4") for id_, vector in rows}

    def photos_of(self, ids: Iterable[int]) -> dict[int, PhotoFile]:
        wanted = json.dumps([int(id_) for id_ in ids])
        columns = "id, path, size, changed, shard, offset"
        chosen = "WHERE id IN (SELECT value FROM json_each(?))"
        rows = self._rows(f"SELECT {columns} FROM photos LEFT JOIN members USING (path) {chosen}", wanted)
        return {id_: _photo(*row) for id_, *row in rows}

    def shards(self) -> dict[str, ShardState]:
        rows = self._rows("SELECT shard, size, changed, is_done FROM shards")
        return {os.fsdecode(shard): ShardState(size, changed, bool(is_done)) for shard, size, changed, is_done in rows}

    def keep_shards(self, shards: dict[str, ShardState | None]) -> None:
        with self.changes() as connection:
            for shard, state in shards.items():
                connection.execute("DELETE FROM shards WHERE shard = ?", (os.fsencode(shard),))
                if state is not None:
                    row = (os.fsencode(shard), state.size, state.changed, state.is_done)
                    connection.execute("INSERT INTO shards VALUES (?, ?, ?, ?)", row)

    def keep_links(self, links: dict[str, str], places: Iterable[str]) -> None:
        rows = [(os.fsencode(path), os.fsencode(real)) for path, real in links.items()]
        with self.changes() as connection:
            for place in map(os.fsencode, places):
                below = place.rstrip(os.fsencode(os.sep)) + os.fsencode(os.sep)
                connection.execute("DELETE FROM links WHERE path = ? OR substr(path, 1, ?) = ?", (place, len(below), below))
            connection.executemany("INSERT OR REPLACE INTO links VALUES (?, ?)", rows)

    def real_path(self, path: str) -> str:
        for place in (path, *map(str, Path(path).parents)):
            rows = self._rows("SELECT real FROM links WHERE path = ?", os.fsencode(place))
            if rows:
                return os.path.normpath(os.path.join(os.fsdecode(rows[0][0]), os.path.relpath(path, place)))
        return path

    def for_another_thread(self) -> "FolderStore":
        return FolderStore(self.folder)

    def _forget(self, photos: Iterable[PhotoFile]) -> None:
        paths = [(os.fsencode(photo.path),) for photo in photos]
        for table in ("photos", "unreadable", "members"):
            self.connection.executemany(f"DELETE FROM {table} WHERE path = ?", paths)

    def _count_revision(self, revision: int) -> None:
        self.connection.execute("INSERT OR REPLACE INTO facts VALUES ('revision', ?)", (json.dumps(revision),))

    def _both(self, query: str, *values: Any) -> list[tuple]:
        """Rows of readable and unreadable photos; {} in the query stands for the table."""
        return [row for table in ("photos", "unreadable") for row in self._rows(query.format(table), *values)]

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


def _photo(path: bytes, size: int, changed: int, shard: bytes | None, offset: int | None) -> PhotoFile:
    return PhotoFile(os.fsdecode(path), size, changed, os.fsdecode(shard or b""), offset or 0)
