"""What a Milvus collection keeps besides vectors: facts, unreadable photos, shards and links, as JSON under a kind and a name."""

import json
import secrets
from typing import Any

import numpy as np

from photo_search.milvus_client import Fields, Milvus
from photo_search.milvus_values import DECODERS, LONGEST, PIECE, escaped, group_id, hashed, unescaped
from photo_search.store import StoreFault

CHARACTERS = 60_000  # of a value in one row; JSON is ASCII. A longer one is in rows of its own (PIECE)
MOST_PIECES = 100_000
ROW_BYTES = 4 * CHARACTERS
INDEX = {"index_type": "FLAT", "metric_type": "L2"}  # Milvus loads no collection without one
FIELDS = ("kind", "group_id", "name", "piece", "pieces", "value")


class Records:
    """The collection NAME_records. group: what records of one kind are listed by, a shard for example; "" is a group too."""

    def __init__(self, milvus: Milvus, name: str):
        self.milvus, self.collection = milvus, f"{name}_records"

    def exist(self) -> bool:
        """Whether the collection is there."""
        return self.milvus.has(self.collection, _fields())

    def make(self) -> None:
        """Make the collection."""
        self.milvus.make(self.collection, _fields(), INDEX)

    def open(self) -> None:
        """Load the collection."""
        self.milvus.open(self.collection, "unused", INDEX)

    def put(self, kind: int, values: dict[str, Any], group: str = "") -> None:
        """Record {name: value that JSON can hold}, each of which replaces the one before at once and as a whole."""
        heads, long = [], []
        for name, value in values.items():
            text, row = json.dumps(value), {"kind": kind, "group_id": group_id(group), "name": escaped(name), "piece": 0}
            pieces = [text[start : start + CHARACTERS] for start in range(0, len(text), CHARACTERS)]
            if len(pieces) > 1:
                text = str(self._write_pieces(row, pieces))
                long.append((row, text))
            heads.append({**row, "id": _id(kind, name), "pieces": len(pieces), "value": text, "unused": np.zeros(2, "f4")})
        self.milvus.write(self.collection, heads, ROW_BYTES)
        for row, version in long:
            self._drop_pieces(row, int(version))

    def drop(self, kind: int, names: list[str]) -> None:
        """Forget records of one piece each; those that are not there are skipped."""
        self.milvus.delete(self.collection, [_id(kind, name) for name in names])

    def get(self, kind: int, names: list[str]) -> dict[str, Any]:
        """{name: value} of those of these records that are there."""
        ids = [_id(kind, name) for name in names]
        return self._decoded(kind, self.milvus.by_id(self.collection, ids, list(FIELDS), ROW_BYTES))

    def all(self, kind: int, group: str | None = None) -> dict[str, Any]:
        """{name: value} of one kind, and one group or all."""
        where = f"kind == {kind}" + ("" if group is None else f" and group_id == {group_id(group)}")
        pages = self.milvus.pages(self.collection, where, list(FIELDS), 4_000)
        return self._decoded(kind, [row for page in pages for row in page])

    def _write_pieces(self, head: dict[str, Any], pieces: list[str]) -> int:
        """Write them beside those of the value that is there. Returns their version, which their numbers begin with."""
        version, common = (1 + secrets.randbits(40)) << 20, {**head, "kind": PIECE, "group_id": _owner(head)}
        numbered = [(version + number, text) for number, text in enumerate(pieces)]
        rows = [
            {**common, "id": _piece_id(head, piece), "piece": piece, "pieces": 0, "value": text, "unused": np.zeros(2, "f4")}
            for piece, text in numbered
        ]
        self.milvus.write(self.collection, rows, ROW_BYTES)
        return version

    def _drop_pieces(self, head: dict[str, Any], version: int) -> None:
        """Those of other versions."""
        pages = self.milvus.pages(self.collection, f"kind == {PIECE} and group_id == {_owner(head)}", ["piece"])
        old = [row["id"] for page in pages for row in page if row["piece"] >> 20 != version >> 20]
        if old:
            self.milvus.delete(self.collection, old)

    def _decoded(self, kind: int, heads: list[dict[str, Any]]) -> dict[str, Any]:
        try:
            names = [unescaped(row["name"]) for row in heads]
            return {name: DECODERS[kind](name, json.loads(self._text(row))) for name, row in zip(names, heads, strict=True)}
        except (KeyError, IndexError, TypeError, ValueError, RecursionError, OverflowError) as error:
            what = f"damaged ({type(error).__name__}: {error!s:.200})"
            raise StoreFault(f"{self.milvus.place}: {what}; index the photos again, into another #NAME") from error

    def _text(self, head: dict[str, Any]) -> str:
        if head["pieces"] <= 1:
            return str(head["value"])
        if head["pieces"] > MOST_PIECES:
            raise ValueError(f"{head['pieces']} pieces")
        ids = [_piece_id(head, int(head["value"]) + number) for number in range(head["pieces"])]
        found = {row["id"]: row["value"] for row in self.milvus.by_id(self.collection, ids, ["value"], ROW_BYTES)}
        return "".join(found[id_] for id_ in ids)


def _id(kind: int, name: str) -> int:
    return hashed(str(kind), "0", name)


def _piece_id(head: dict[str, Any], piece: int) -> int:
    return hashed(str(head["kind"]), str(piece), unescaped(head["name"]))


def _owner(head: dict[str, Any]) -> int:
    """What the pieces of a long value are listed by."""
    return hashed(str(head["kind"]), head["name"])


def _fields() -> Fields:
    from pymilvus import DataType

    text, number = {"datatype": DataType.VARCHAR, "max_length": LONGEST}, {"datatype": DataType.INT64}
    types = {name: text if name in ("name", "value") else number for name in FIELDS}
    unused = {"datatype": DataType.FLOAT_VECTOR, "dim": 2}  # Milvus requires a vector in each row
    return {"id": {**number, "is_primary": True}, **types, "unused": unused}
