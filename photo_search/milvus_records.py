"""What a Milvus collection keeps besides vectors: facts, unreadable photos, shards and links, as JSON under a kind and a name."""

import hashlib
import json
import re
from typing import Any

import numpy as np

from photo_search.milvus_client import Milvus
from utils.errors import InputError

FACT, FIT, UNREADABLE, SHARD, LINK = range(5)  # kinds
LONGEST = 65_535  # bytes of a text in Milvus
LONGEST_NAME = 4_096  # bytes of a photo's path: Linux's limit; a shard may hold longer names, but thousands of them are no answer
PIECE = 60_000  # characters of a long value in one row; JSON is ASCII
ROW_BYTES = 4 * PIECE
INDEX = {"index_type": "FLAT", "metric_type": "L2"}  # Milvus loads no collection without one
FIELDS = ("kind", "group_id", "name", "piece", "pieces", "value")


def hashed(*parts: str) -> int:
    """A hash of 63 bits, evenly distributed: that two of 100 million different texts share one has a probability of 5e-4."""
    text = "\0".join(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def escaped(path: str) -> str:
    """A path as valid text: % and what stands for bytes that are no UTF-8 become %XXXX, the code point in hexadecimal."""
    return re.sub("[%\ud800-\udfff]", lambda found: f"%{ord(found[0]):04X}", path)


def unescaped(text: str) -> str:
    """The path that `escaped` received."""
    return re.sub("%([0-9A-F]{4})", lambda found: chr(int(found[1], 16)), text)


def is_too_long(path: str) -> bool:
    """Whether a path is longer than LONGEST_NAME."""
    return len(escaped(path).encode()) > LONGEST_NAME


class Records:
    """The collection NAME_records. group: what records of one kind are listed by, a shard for example; "" is a group too."""

    def __init__(self, milvus: Milvus, name: str):
        self.milvus, self.collection = milvus, f"{name}_records"

    def exist(self) -> bool:
        """Whether the collection is there."""
        return self.milvus.has(self.collection, {"id", *FIELDS, "unused"})

    def make(self) -> None:
        """Make the collection."""
        from pymilvus import DataType

        text, number = {"datatype": DataType.VARCHAR, "max_length": LONGEST}, {"datatype": DataType.INT64}
        types = {name: text if name in ("name", "value") else number for name in FIELDS}
        unused = {"datatype": DataType.FLOAT_VECTOR, "dim": 2}  # Milvus wants a vector in each row
        fields = {"id": {**number, "is_primary": True}, **types, "unused": unused}
        self.milvus.make(self.collection, fields, INDEX)

    def open(self) -> None:
        """Load the collection."""
        self.milvus.open(self.collection, "unused", INDEX)

    def put(self, kind: int, values: dict[str, Any], group: str = "") -> None:
        """Record {name: value that JSON can hold}."""
        rows = [row for name, value in values.items() for row in _rows(kind, group, name, json.dumps(value))]
        self.milvus.write(self.collection, rows, ROW_BYTES)

    def drop(self, kind: int, names: list[str]) -> None:
        """Forget records of one piece each; those that are not there are skipped."""
        self.milvus.delete(self.collection, [_id(kind, name) for name in names])

    def get(self, kind: int, names: list[str]) -> dict[str, Any]:
        """{name: value} of those of these records that are there."""
        rows = self._rows_of([_id(kind, name) for name in names])
        more = [_id(kind, unescaped(row["name"]), piece) for row in rows for piece in range(1, row["pieces"])]
        return self._joined(rows + self._rows_of(more) if more else rows)

    def all(self, kind: int, group: str | None = None) -> dict[str, Any]:
        """{name: value} of one kind, and one group or all."""
        where = f"kind == {kind}" + ("" if group is None else f" and group_id == {group_id(group)}")
        pages = self.milvus.pages(self.collection, where, list(FIELDS), 4_000)
        return self._joined([row for page in pages for row in page])

    def _rows_of(self, ids: list[int]) -> list[dict[str, Any]]:
        return self.milvus.by_id(self.collection, ids, list(FIELDS), ROW_BYTES)

    def _joined(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        pieces = {(row["name"], row["piece"]): row for row in rows}
        try:
            firsts = [row for row in rows if row["piece"] == 0]
            texts = {
                row["name"]: "".join(pieces[row["name"], piece]["value"] for piece in range(row["pieces"])) for row in firsts
            }
            return {unescaped(name): json.loads(text) for name, text in texts.items()}
        except (KeyError, ValueError) as error:
            raise InputError(f"{self.milvus.place}: damaged ({error!r}); index the photos again, into another #NAME") from error


def group_id(group: str) -> int:
    """0 for no group."""
    return hashed(group) if group else 0


def _id(kind: int, name: str, piece: int = 0) -> int:
    return hashed(str(kind), str(piece), name)


def _rows(kind: int, group: str, name: str, text: str) -> list[dict[str, Any]]:
    texts = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
    common = {"kind": kind, "group_id": group_id(group), "name": escaped(name), "pieces": len(texts), "unused": np.zeros(2, "f4")}
    return [{**common, "id": _id(kind, name, piece), "piece": piece, "value": part} for piece, part in enumerate(texts)]
