"""What an index knows of its photos: one SQLite file, so that whatever ends a process, each change is in it or not.

The vectors are kept here, too; the file that is searched (`retrieval.vector_index`) follows from them, and from `revision`, which
grows with every change, it is known how far it has fallen behind.
"""

import contextlib
import json
import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.errors import InputError

FORMAT = 1
TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS photos (
    id INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB UNIQUE NOT NULL, size INTEGER NOT NULL, changed INTEGER NOT NULL,
    vector BLOB NOT NULL, revision INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS by_revision ON photos (revision);
CREATE TABLE IF NOT EXISTS unreadable (path BLOB PRIMARY KEY, size INTEGER, changed INTEGER, reason TEXT);
"""
# made when it is needed: an index that an earlier version made may lie where nothing can be written
LINKS = "CREATE TABLE IF NOT EXISTS links (path BLOB PRIMARY KEY, real BLOB NOT NULL)"


@dataclass(frozen=True)
class PhotoFile:
    """A photo on disk; `changed` is its time of change in nanoseconds."""

    path: str
    size: int
    changed: int


class DiskFull(InputError):
    """Nothing more can be written to an index."""

    def __init__(self, folder: Path):
        super().__init__(f"{folder}: the disk is full; free some space, then run the same command again: what is indexed is kept")


class Store:
    """Photos with their vectors (d,) float32 under ids that are never given twice.

    Raises InputError if the file is damaged, or no index of ours, and DiskFull.
    """

    def __init__(self, path: Path):
        self.path = path
        with self._damage_named():
            self.connection = sqlite3.connect(path, timeout=30, check_same_thread=False)
            self.connection.executescript(TABLES)
            if self.fact("format", FORMAT) != FORMAT:
                raise InputError(f"{path}: was made by another version; index the photos again, into another folder")
            if self.fact("identity") is None:
                self.keep_facts(identity=secrets.token_hex(8))

    def close(self) -> None:
        self.connection.close()

    def fact(self, name: str, default: object = None) -> object:
        """What was kept of the whole under this name."""
        row = self._one("SELECT value FROM facts WHERE name = ?", name)
        return default if row is None else json.loads(row[0])

    def keep_facts(self, **facts: object) -> None:
        """As JSON has them."""
        with self.changes() as connection:
            rows = [(name, json.dumps(value)) for name, value in facts.items()]
            connection.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", rows)

    @contextlib.contextmanager
    def changes(self) -> Iterator[sqlite3.Connection]:
        """All that is done in the block, or nothing."""
        with self._damage_named(), self.connection:
            yield self.connection

    def __len__(self) -> int:
        return self._one("SELECT COUNT(*) FROM photos")[0]

    @property
    def revision(self) -> int:
        """Grows with each change of the photos."""
        return int(self.fact("revision", 0))

    @property
    def identity(self) -> str:
        """Tells these photos' ids from those of any other index."""
        return str(self.fact("identity"))

    def known(self) -> dict[str, tuple[int, int]]:
        """{path: (size, changed)} of all photos, those that cannot be read among them."""
        rows = self._all("SELECT path, size, changed FROM photos UNION ALL SELECT path, size, changed FROM unreadable")
        return {os.fsdecode(path): (size, changed) for path, size, changed in rows}

    def unreadable(self) -> dict[str, str]:
        """{path: what is wrong with it}."""
        return {os.fsdecode(path): reason for path, reason in self._all("SELECT path, reason FROM unreadable")}

    def put(self, photos: Sequence[PhotoFile], vectors: np.ndarray, faults: dict[PhotoFile, str]) -> None:
        """New photos or new versions, which get new ids; vectors (len(photos), d)."""
        revision = self.revision + 1
        with self.changes() as connection:
            self._forget(connection, [photo.path for photo in (*photos, *faults)])
            connection.executemany(
                "INSERT INTO photos (path, size, changed, vector, revision) VALUES (?, ?, ?, ?, ?)",
                [
                    (os.fsencode(photo.path), photo.size, photo.changed, vector.astype("<f4").tobytes(), revision)
                    for photo, vector in zip(photos, vectors, strict=True)
                ],
            )
            rows = [(os.fsencode(photo.path), photo.size, photo.changed, reason) for photo, reason in faults.items()]
            connection.executemany("INSERT INTO unreadable VALUES (?, ?, ?, ?)", rows)
            self._mark(connection, revision)

    def remove(self, paths: Iterable[str]) -> None:
        """Photos that are no longer wanted or there."""
        revision = self.revision + 1
        with self.changes() as connection:
            self._forget(connection, paths)
            self._mark(connection, revision)

    def ids(self) -> np.ndarray:
        """(n,) int64, ascending."""
        return np.array([row[0] for row in self._all("SELECT id FROM photos ORDER BY id")], np.int64)

    def vectors(self, ids: Iterable[int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(n,) ids ascending and their vectors (n, d); all, or those of these ids that are there."""
        if ids is None:
            rows = self._all("SELECT id, vector FROM photos ORDER BY id")
        else:
            rows = sorted(row for id_ in ids for row in self._all("SELECT id, vector FROM photos WHERE id = ?", int(id_)))
        found = np.array([row[0] for row in rows], np.int64)
        return found, np.frombuffer(b"".join(row[1] for row in rows), "<f4").reshape(len(rows), int(self.fact("width", 0)))

    def paths_of(self, ids: Iterable[int]) -> dict[int, str]:
        """{id: path} of those of these ids that are there."""
        wanted = json.dumps([int(id_) for id_ in ids])
        rows = self._all("SELECT id, path FROM photos WHERE id IN (SELECT value FROM json_each(?))", wanted)
        return {id_: os.fsdecode(path) for id_, path in rows}

    def photo(self, id_: int) -> PhotoFile | None:
        """As it was when it was indexed; None for an id that is not, or no longer, there."""
        row = self._one("SELECT path, size, changed FROM photos WHERE id = ?", int(id_))
        return None if row is None else PhotoFile(os.fsdecode(row[0]), *row[1:])

    @property
    def keeps_links(self) -> bool:
        """Not so in an index of an earlier version, until it is brought up to date."""
        return self._one("SELECT 1 FROM sqlite_master WHERE name = 'links'") is not None

    def keep_links(self, links: dict[str, str], places: Iterable[str]) -> None:
        """{path of a file or folder: where it led when it was indexed}; what was kept of paths in `places` goes."""
        rows = [(os.fsencode(path), os.fsencode(real)) for path, real in links.items()]
        with self.changes() as connection:
            connection.execute(LINKS)
            for place in map(os.fsencode, places):
                below = place.rstrip(os.fsencode(os.sep)) + os.fsencode(os.sep)
                connection.execute("DELETE FROM links WHERE path = ? OR substr(path, 1, ?) = ?", (place, len(below), below))
            connection.executemany("INSERT OR REPLACE INTO links VALUES (?, ?)", rows)

    def real_path(self, path: str) -> str:
        """Where an indexed photo's absolute path led when it was indexed: `path` itself, if no link was on its way."""
        if not self.keeps_links:
            return path
        for place in (path, *map(str, Path(path).parents)):
            row = self._one("SELECT real FROM links WHERE path = ?", os.fsencode(place))
            if row is not None:
                return os.path.normpath(os.path.join(os.fsdecode(row[0]), os.path.relpath(path, place)))
        return path

    def _forget(self, connection: sqlite3.Connection, paths: Iterable[str]) -> None:
        rows = [(os.fsencode(path),) for path in paths]
        for table in ("photos", "unreadable"):
            connection.executemany(f"DELETE FROM {table} WHERE path = ?", rows)

    def _mark(self, connection: sqlite3.Connection, revision: int) -> None:
        connection.execute("INSERT OR REPLACE INTO facts VALUES ('revision', ?)", (json.dumps(revision),))

    def _one(self, query: str, *values: object) -> tuple | None:
        with self._damage_named():
            return self.connection.execute(query, values).fetchone()

    def _all(self, query: str, *values: object) -> list[tuple]:
        with self._damage_named():
            return self.connection.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _damage_named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "is full" in str(error):
                raise DiskFull(self.path.parent) from error
            raise InputError(f"{self.path}: {error}; check that it may be written, and that no other program holds it") from error
        except (sqlite3.Error, ValueError, TypeError) as error:
            raise InputError(f"{self.path}: damaged ({error}); index the photos again, into another folder") from error
