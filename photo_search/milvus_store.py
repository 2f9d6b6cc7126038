"""An index in Milvus: on a server, to which several processes may add photos at the same time, or in a Milvus Lite file.

Collections, whose names begin with the address's name (see `MilvusAddress`):
    NAME            a row per photo: its vector, path, size, …; the id is a hash of the path
    NAME_records    facts, unreadable photos, shards and links
    NAME_codes0/1   binary codes under the same ids, where they were fitted

A photo's id is a hash of its path, so a row that is written again replaces itself: an interrupted run, or two that do the same,
lose nothing and store nothing twice. Filters hold numbers only, never a path.
"""

import contextlib
import copy
import os
import secrets
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from photo_search.collecting import is_below
from photo_search.config import SUGGESTED
from photo_search.index import RECALL_QUERIES, best, perturbed, recall, require_unit
from photo_search.milvus_address import MilvusAddress
from photo_search.milvus_client import ID_LIMIT, Fields, Milvus
from photo_search.milvus_codes import Codes, found_by, vectors_in
from photo_search.milvus_index import described, is_still_right, search_params, vector_index
from photo_search.milvus_records import Records
from photo_search.milvus_run import sole_run
from photo_search.milvus_values import (
    FACT,
    LINK,
    LONGEST,
    LONGEST_NAME,
    PHOTO_FIELDS,
    SHARD,
    UNREADABLE,
    fields_of,
    group_id,
    hashed,
    is_too_long,
    photo_of,
)
from photo_search.store import FORMAT, Found, PhotoFile, ShardState, Store, StoreFault
from utils.errors import InputError
from utils.text import printable

ROW_BYTES, MOST_ROW_BYTES = 1_000, 2 * LONGEST_NAME + 100  # of a photo without its vector, ordinarily and at most
RECALL_AT, WIDER = 20, 16
LITE_QUERIES = 20  # for measuring recall: Milvus Lite takes a tenth of a second for each among 100,000 photos
MOST_ENCODED = 100_000  # photos for which a search fits missing codes itself
LONGEST_REASON = 10_000


def has_collections(address: MilvusAddress, token: str) -> bool:
    """Whether `MilvusStore` finds an index. Raises InputError if a server cannot be reached."""
    if address.is_file and not os.path.exists(address.uri):
        return False
    return Records(Milvus(address, token), address.name).exist()


class MilvusStore(Store):
    """Photos in Milvus. folder: of the index on this machine. make: make an empty index where there is none.

    Raises InputError if there is none, if another program made the collections, or Milvus does not answer.
    """

    serves_threads = True

    def __init__(self, folder: Path, address: MilvusAddress, token: str, make: bool = False):
        self.folder, self.place, self.is_shared = folder, str(address), not address.is_file
        if not make and address.is_file and not os.path.exists(address.uri):
            raise InputError(self._none())
        self.milvus = Milvus(address, token)
        self.photos, self.records = address.name, Records(self.milvus, address.name)
        self.codes = Codes(self.milvus, address.name, self.records)
        if not self.records.exist():
            if not make:
                raise InputError(self._none())
            self.records.make()
        self.records.open()
        self._read_facts()
        if self.fact("identity") is None:
            self.keep_facts(identity=secrets.token_hex(8))
        self.codes.is_fitted()

    @property
    def options(self) -> str:
        return f"-o {self.folder} --store {self.place}"

    @contextlib.contextmanager
    def sole_run(self) -> Iterator[None]:
        with sole_run(self.records) if self.is_shared else contextlib.nullcontext():  # a Lite file has one process
            self._read_facts()
            yield

    def _read_facts(self) -> None:
        """Those of another run may have come since the last time."""
        self._facts = self.records.all(FACT)
        if self.fact("format", FORMAT) != FORMAT:
            raise InputError(f"{self.place}: was made by another version; index the photos again, into another #NAME")
        if self.width:
            self._open_photos()

    def fact(self, name: str, default: Any = None) -> Any:
        return self._facts.get(name, default)

    def keep_facts(self, **facts: Any) -> None:
        changed = {name: value for name, value in facts.items() if name not in self._facts or self._facts[name] != value}
        if changed:
            self.records.put(FACT, changed)
            self._facts |= changed
        if "width" in changed:
            self._open_photos()

    def __len__(self) -> int:
        return self.milvus.count(self.photos) if self.width else 0

    def known(self, shard: str = "") -> dict[str, PhotoFile]:
        where = f"shard_id == {group_id(shard)}"
        pages = self.milvus.pages(self.photos, where, list(PHOTO_FIELDS), ROW_BYTES) if self.width else ()
        readable = {photo.path: photo for page in pages for photo in map(photo_of, page) if photo.shard == shard}
        unreadable = {path: value.photo for path, value in self.records.all(UNREADABLE, shard).items()}
        both = [path for path in unreadable if path in readable]
        if both:  # storing them was interrupted; those that have changed are embedded again
            self.records.drop(UNREADABLE, both)
        return {**unreadable, **readable}

    def unreadable(self) -> dict[str, str]:
        return {path: value.reason for path, value in self.records.all(UNREADABLE).items()}

    def add(self, photos: Sequence[PhotoFile], vectors: np.ndarray, faults: dict[PhotoFile, str]) -> None:
        require_unit(vectors)
        _print_too_long([*photos, *faults])
        kept = [row for row, photo in enumerate(photos) if not is_too_long(photo.path)]
        faults = {photo: reason for photo, reason in faults.items() if not is_too_long(photo.path)}
        photos, vectors = [photos[row] for row in kept], vectors[kept]
        ids = [hashed(photo.path) for photo in photos]
        self.codes.add(ids, vectors)  # first: each photo has a code, and a code without a photo is not found
        rows = [
            {"id": id_, **fields_of(photo), "vector": vector} for id_, photo, vector in zip(ids, photos, vectors, strict=True)
        ]
        self.milvus.write(self.photos, rows, MOST_ROW_BYTES + 4 * self.width)
        were_unreadable = self.records.get(UNREADABLE, [photo.path for photo in photos])
        if were_unreadable:
            self.records.drop(UNREADABLE, list(were_unreadable))
        for photo, reason in faults.items():
            self.records.put(UNREADABLE, {photo.path: {**fields_of(photo), "reason": reason[:LONGEST_REASON]}}, photo.shard)
        self._remove_vectors(faults)

    def remove(self, photos: Iterable[PhotoFile]) -> None:
        photos = list(photos)
        self.records.drop(UNREADABLE, [photo.path for photo in photos])
        self._remove_vectors(photos)

    def search(self, queries: np.ndarray, k: int, codes: bool = False) -> Found:
        require_unit(queries)
        if not self.width:
            return np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
        if not codes:
            return best(*self._similar(queries, k), k)
        if not self.codes.is_fitted():
            self._fit_codes()
        return best(*self.codes.search(queries, k), k) if self.codes.bits else self.search(queries, k)

    def prepare(self, codes: bool) -> str:
        self.milvus.refresh()
        count = len(self)
        if count == 0:
            return "no photo is left in the index"
        self.codes.complete(self.photos, self.width)
        if codes:
            self.codes.prepare(self.photos, count, self.width)
            return f"codes of {self.codes.bits} bits: {self._recall(codes)} are found"
        self.milvus.ask("flush", self.photos, seconds=120)
        index = vector_index(count, self.width, self.fact("kind"))
        if not is_still_right(self.milvus.index_of(self.photos, "vector"), index):
            self.milvus.index(self.photos, "vector", index)
        self.milvus.wait_until_indexed(self.photos, "vector")
        if index["index_type"] == "FLAT":
            return "searched exactly"
        return f"searched by {described(index)}: {self._recall(codes)} that a search {WIDER} times as wide finds are found"

    def photos_of(self, ids: Iterable[int]) -> dict[int, PhotoFile]:
        rows = self.milvus.by_id(self.photos, [*map(int, ids)], list(PHOTO_FIELDS), ROW_BYTES) if self.width else []
        return {row["id"]: photo_of(row) for row in rows}

    def vectors_of(self, ids: Iterable[int]) -> dict[int, np.ndarray]:
        rows = self.milvus.by_id(self.photos, [*map(int, ids)], ["vector"], 8 * self.width) if self.width else []
        return {row["id"]: np.array(row["vector"], np.float32) for row in rows}

    def shards(self) -> dict[str, ShardState]:
        return self.records.all(SHARD)

    def keep_shards(self, shards: dict[str, ShardState | None]) -> None:
        kept = {shard: (state.size, state.changed, state.is_done) for shard, state in shards.items() if state}
        if kept:
            self.records.put(SHARD, kept)
        if len(kept) < len(shards):
            self.records.drop(SHARD, [shard for shard in shards if shard not in kept])

    def keep_links(self, links: dict[str, str], places: Iterable[str]) -> None:
        places, recorded = list(places), self.records.all(LINK)
        gone = [path for path in recorded if path not in links and is_below(path, places)]
        if gone:
            self.records.drop(LINK, gone)
        changed = {path: real for path, real in links.items() if recorded.get(path) != real}
        if changed:
            self.records.put(LINK, changed)

    def real_path(self, path: str) -> str:
        links = self.records.get(LINK, [path, *map(str, Path(path).parents)])
        if not links:
            return path
        place = max(links, key=len)
        return os.path.normpath(os.path.join(links[place], os.path.relpath(path, place)))

    def for_another_thread(self) -> "MilvusStore":
        other = copy.copy(self)
        other.milvus = self.milvus.impatient()
        other.records = Records(other.milvus, self.photos)
        other.codes = Codes(other.milvus, self.photos, other.records)
        return other

    def _none(self) -> str:
        advice = f"`python search.py index PHOTOS --arch {SUGGESTED} {self.options}`"
        return f"{self.place}: no index there; make one with {advice}, or with --checkpoint FILE in place of --arch"

    def _open_photos(self) -> None:
        """Make the collection of the photos if there is none, and load it."""
        index, fields = vector_index(0, self.width, "exact"), self._fields()
        if not self.milvus.has(self.photos, fields):
            self.milvus.make(self.photos, fields, index)
        width = self.milvus.dimension(self.photos, "vector")
        if width != self.width:
            raise InputError(
                f"{self.place}: the vectors of the collection {self.photos} have {width} numbers, but those of this index have "
                f"{self.width}; choose another name after #"
            )
        self.milvus.open(self.photos, "vector", index)

    def _fields(self) -> Fields:
        from pymilvus import DataType

        text, number = {"datatype": DataType.VARCHAR, "max_length": LONGEST}, {"datatype": DataType.INT64}
        columns = {name: text if name in ("path", "shard") else number for name in PHOTO_FIELDS}
        vector = {"datatype": DataType.FLOAT_VECTOR, "dim": self.width}
        return {"id": {**number, "is_primary": True}, **columns, "vector": vector}

    def _remove_vectors(self, photos: Iterable[PhotoFile]) -> None:
        ids = [hashed(photo.path) for photo in photos]
        if ids and self.width:
            self.milvus.delete(self.photos, ids)
            self.codes.remove(ids)

    def _similar(self, queries: np.ndarray, k: int, times: int = 1) -> Found:
        """Lists of IVF may hold fewer than k photos; then more of them are searched."""
        while True:
            found = found_by(self.milvus, self.photos, "vector", list(queries), k, times)
            is_whole = found[0].shape[1] == k and not (found[0] < 0).any()
            if is_whole or search_params(k, times) == search_params(k, 2 * times) or found[0].shape[1] >= len(self):
                return found
            times *= 4

    def _fit_codes(self) -> None:
        count = len(self)
        if count > MOST_ENCODED:
            what = f"has no codes yet; compute them with `python search.py index --codes {self.options}`"
            raise StoreFault(f"{self.place}: {what}", "The photos have no hash codes yet; search without them.")
        if count:
            with sole_run(self.records, 0) if self.is_shared else contextlib.nullcontext():
                self.codes.prepare(self.photos, count, self.width)

    def _recall(self, codes: bool) -> str:
        """The share of the photos most similar to perturbed vectors, as `VectorIndex.recall_at` measures it, in words."""
        most = LITE_QUERIES if self.milvus.is_lite else RECALL_QUERIES
        rng, limit = np.random.default_rng(0), min(ID_LIMIT, 2 * most * ID_LIMIT // len(self))
        pages = self.milvus.pages(self.photos, "", ["vector"], 8 * self.width, limit)
        sample = np.concatenate([vectors_in(page) for page in pages] or [np.empty((0, self.width), np.float32)])[:most]
        queries = perturbed(sample, rng)
        expected = self._similar(queries, RECALL_AT, WIDER)[0]
        found = self.codes.search(queries, RECALL_AT)[0] if codes else self._similar(queries, RECALL_AT)[0]
        return f"{recall(expected, found):.1%} of the {RECALL_AT} most similar photos"


def _print_too_long(photos: list[PhotoFile]) -> None:
    for photo in photos:
        if is_too_long(photo.path):
            name = printable(photo.path[:80])
            print(f"note: {name}…: its name is longer than {LONGEST_NAME:,} bytes; left out", file=sys.stderr)
