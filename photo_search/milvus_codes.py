"""Binary codes of the photos in Milvus: a collection of their own, made when codes are fitted.

A server compares bits (BINARY_VECTOR) by Hamming distance. Milvus Lite has no bits: there a code is a vector of ±1, and the inner
product of two of them is their length less twice the Hamming distance: it ranks alike, as L2 does, and Lite computes it faster.
"""

import base64
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from photo_search.index import BITS, CODES_FITTED_ON, LARGEST_SAMPLE, OUTGROWN, fitted
from photo_search.milvus_client import ID_LIMIT, MOST_ROWS, Fields, Milvus
from photo_search.milvus_index import code_index, is_still_right, search_params
from photo_search.milvus_records import Records
from photo_search.milvus_values import FACT, FIT
from photo_search.store import Found, StoreFault
from utils.progress import progress_bar

RECORD = "codes"
QUERIES = 10  # answered at once
MARGIN = 1.1  # ids below a share of all ids are that share of the photos, give or take a little


class _Fit(NamedTuple):
    """Fit number `serial`, made when there were `rows` photos: code = values[:, :-1] · vector + values[:, -1] >= 0.

    values: (bits, d + 1) float32.
    """

    serial: int
    rows: int
    values: np.ndarray


class Codes:
    """The collections NAME_codes0 and NAME_codes1: one is in use, and the next fit fills the other."""

    def __init__(self, milvus: Milvus, name: str, records: Records):
        self.milvus, self.name, self.records = milvus, name, records
        self._fit: _Fit | None = None
        self._recorded: Any = None  # the fact that it was read by

    @property
    def bits(self) -> int:
        """The length of the codes."""
        return len(self._fit.values) if self._fit else 0

    def is_fitted(self) -> bool:
        """Whether there are codes; another process may have fitted others since the last time."""
        facts = self.records.get(FACT, [RECORD, "width"])
        recorded = facts.get(RECORD)
        if recorded is None:
            self._fit = None
        elif self._fit is None or self._recorded != recorded:
            self._fit, self._recorded = self._read(recorded, facts["width"]), recorded
            index = code_index(self._fit.rows, self.milvus.is_lite)
            self.milvus.open(self._collection(self._fit.serial), "code", index)
        return self._fit is not None

    def add(self, ids: list[int], vectors: np.ndarray) -> None:
        """Add the codes of vectors (n, d), or replace them; nothing where none are fitted."""
        if ids and self.is_fitted() and self._fit:
            self._write(self._fit, ids, vectors)

    def remove(self, ids: list[int]) -> None:
        """Forget codes; those that are not there are skipped."""
        if self._fit is not None:
            self.milvus.delete(self._collection(self._fit.serial), ids)

    def search(self, queries: np.ndarray, k: int) -> Found:
        """queries (q, d) → the k nearest codes; similarity is 1 - 2 · Hamming distance / bits."""
        assert self._fit is not None
        codes = self._encoded(self._fit, queries)
        ids, found = found_by(self.milvus, self._collection(self._fit.serial), "code", codes, k)
        hamming = (_padded(self.bits) - np.round(found)) / 2 if self.milvus.is_lite else found
        return ids, (1 - 2 * hamming / self.bits).astype(np.float32)

    def prepare(self, photos: str, count: int, width: int) -> None:
        """Fit codes of the collection `photos`, if there are none, or the photos have outgrown them."""
        if not self.is_fitted() or (self._fit and count > OUTGROWN * self._fit.rows):
            self._fit_again(photos, count, width)
        assert self._fit is not None
        collection = self._collection(self._fit.serial)
        self.milvus.ask("flush", collection, seconds=120)
        index = code_index(count, self.milvus.is_lite)
        if not is_still_right(self.milvus.index_of(collection, "code"), index):
            self.milvus.index(collection, "code", index)

    def _fit_again(self, photos: str, count: int, width: int) -> None:
        sample = self._sample(photos, count, width)
        fit = fitted("codes", sample)
        serial = (self._fit.serial if self._fit else 0) + 1
        new = _Fit(serial, count, fit.values)
        collection = self._collection(serial)
        fields = self._fields(len(fit.values))
        if self.milvus.has(collection, fields):
            self.milvus.ask("drop_collection", collection)  # of an earlier fit, or an interrupted one
        self.milvus.make(collection, fields, code_index(count, self.milvus.is_lite))
        with progress_bar(count, "computing codes", "photos") as bar:
            for page in self.milvus.pages(photos, "", ["vector"], 8 * width):
                self._write(new, [row["id"] for row in page], vectors_in(page))
                bar.update(len(page))
        self.records.put(FIT, {str(serial % 2): base64.b64encode(new.values.astype("<f4").tobytes()).decode()})
        self._recorded = {"serial": serial, "rows": count, "bits": len(new.values)}
        self.records.put(FACT, {RECORD: self._recorded})
        self._fit = new

    def complete(self, photos: str, width: int) -> None:
        """Add the codes that photos lack, and forget those without a photo: a run was killed, or codes were fitted meanwhile."""
        if not self.is_fitted() or self._fit is None:
            return
        codes = self._collection(self._fit.serial)
        if self.milvus.count(codes) == self.milvus.count(photos):
            return
        for lacking in self._lacking(codes, photos):
            rows = self.milvus.by_id(photos, lacking, ["vector"], 8 * width)
            self._write(self._fit, [row["id"] for row in rows], vectors_in(rows))
        for lacking in self._lacking(photos, codes):
            self.milvus.delete(codes, lacking)

    def _lacking(self, collection: str, other: str) -> Iterator[list[int]]:
        """Ids that are in the other collection, but not in this one."""
        for page in self.milvus.pages(other, "", ["id"]):
            ids = [row["id"] for row in page]
            lacking = {*ids} - {row["id"] for row in self.milvus.by_id(collection, ids, ["id"])}
            if lacking:
                yield [*lacking]

    def _sample(self, photos: str, count: int, width: int) -> np.ndarray:
        """Vectors (n, width) of photos drawn at random: their ids are hashes, so these are those of the lowest ids."""
        most = min(CODES_FITTED_ON, LARGEST_SAMPLE // width)
        limit = min(ID_LIMIT, int(ID_LIMIT * (MARGIN * most / count)))
        pages = self.milvus.pages(photos, "", ["vector"], 8 * width, limit)
        return np.concatenate([vectors_in(page) for page in pages])[:most]

    def _fields(self, bits: int) -> Fields:
        from pymilvus import DataType

        kind = DataType.FLOAT_VECTOR if self.milvus.is_lite else DataType.BINARY_VECTOR
        return {"id": {"datatype": DataType.INT64, "is_primary": True}, "code": {"datatype": kind, "dim": _padded(bits)}}

    def _read(self, recorded: Any, width: int) -> _Fit:
        try:
            serial, rows, bits = (int(recorded[name]) for name in ("serial", "rows", "bits"))
            text = self.records.get(FIT, [str(serial % 2)])[str(serial % 2)]
            values = np.frombuffer(base64.b64decode(text, validate=True), "<f4").reshape(bits, width + 1)
            if serial < 1 or rows < 1 or bits < 1 or not np.isfinite(values).all():
                raise ValueError("numbers out of range")
            return _Fit(serial, rows, values)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            what = f"its codes are damaged ({error}); index the photos again, into another #NAME"
            raise StoreFault(f"{self.milvus.place}: {what}") from error

    def _write(self, fit: _Fit, ids: list[int], vectors: np.ndarray) -> None:
        codes = self._encoded(fit, vectors)
        rows = [{"id": id_, "code": code} for id_, code in zip(ids, codes, strict=True)]
        self.milvus.write(self._collection(fit.serial), rows, 16 + 8 * BITS)

    def _encoded(self, fit: _Fit, vectors: np.ndarray) -> list[Any]:
        """One code per vector; Milvus stores whole bytes, so unused bits at the end of a code are 0."""
        packed = np.packbits(vectors @ fit.values[:, :-1].T + fit.values[:, -1] >= 0, axis=1)
        if self.milvus.is_lite:
            return list(np.unpackbits(packed, axis=1).astype(np.float32) * 2 - 1)
        return [row.tobytes() for row in packed]

    def _collection(self, serial: int) -> str:
        return f"{self.name}_codes{serial % 2}"


def _padded(bits: int) -> int:
    return -(-bits // 8) * 8


def found_by(milvus: Milvus, collection: str, field: str, queries: list[Any], k: int, times: int = 1) -> Found:
    """Ids and Milvus's distances, each (q, k or fewer); where a query finds fewer than others, its row ends in -1 and NaN.

    times: see `search_params`.
    """
    how = {"limit": min(k, MOST_ROWS), "output_fields": ["id"], "search_params": search_params(k, times)}
    chunks = (queries[start : start + QUERIES] for start in range(0, len(queries), QUERIES))
    answers = [hits for chunk in chunks for hits in milvus.read("search", collection, anns_field=field, data=chunk, **how)]
    longest = max((len(hits) for hits in answers), default=0)
    ids, distances = np.full((len(queries), longest), -1, np.int64), np.full((len(queries), longest), np.nan, np.float32)
    for row, hits in enumerate(answers):
        ids[row, : len(hits)] = [hit["id"] for hit in hits]
        distances[row, : len(hits)] = [hit["distance"] for hit in hits]
    return ids, distances


def vectors_in(rows: list[dict[str, Any]]) -> np.ndarray:
    """The vectors (n, d) float32 of rows."""
    return np.array([row["vector"] for row in rows], np.float32)
