"""What a Milvus collection holds, as the store's own types: hashes of names, photos, and records, of which none is trusted."""

import hashlib
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from photo_search.store import PhotoFile, ShardState

FACT, FIT, UNREADABLE, SHARD, LINK, RUN, PIECE = range(7)  # kinds of records
LONGEST = 65_535  # bytes of a text in Milvus
LONGEST_NAME = 4_096  # bytes of a photo's path: Linux's limit; a shard may hold longer names, but thousands of them are no answer
WIDEST = 32_768  # numbers of a vector in Milvus
LISTS_OF_NAMES = ("roots", "left_out", "shards")  # facts
PHOTO_FIELDS = ("path", "size", "changed", "offset", "shard", "shard_id")


class Unreadable(NamedTuple):
    """A photo that cannot be read, and why."""

    photo: PhotoFile
    reason: str


class Run(NamedTuple):
    """A run that changes the index. machine: see `milvus_run`; beats: how often it has renewed its record."""

    host: str
    machine: str
    pid: int
    beats: int


def hashed(*parts: str) -> int:
    """A hash of 63 bits, evenly distributed: that two of 100 million different texts share one has a probability of 5e-4."""
    text = "\0".join(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def group_id(group: str) -> int:
    """0 for no group."""
    return hashed(group) if group else 0


def escaped(path: str) -> str:
    """A path as valid text: % and what stands for bytes that are no UTF-8 become %XXXX, the code point in hexadecimal."""
    return re.sub("[%\ud800-\udfff]", lambda found: f"%{ord(found[0]):04X}", path)


def unescaped(text: str) -> str:
    """The path that `escaped` received."""
    return re.sub("%([0-9A-F]{4})", lambda found: chr(int(found[1], 16)), text)


def is_too_long(path: str) -> bool:
    """Whether a path is longer than LONGEST_NAME."""
    return len(escaped(path).encode()) > LONGEST_NAME


def fields_of(photo: PhotoFile) -> dict[str, Any]:
    """Its PHOTO_FIELDS."""
    texts = {"path": escaped(photo.path), "shard": escaped(photo.shard)}
    return {**photo._asdict(), **texts, "shard_id": group_id(photo.shard)}


def photo_of(row: dict[str, Any]) -> PhotoFile:
    """The photo that `fields_of` received."""
    numbers = (int(row[name]) for name in ("size", "changed", "offset"))
    size, changed, offset = numbers
    return PhotoFile(unescaped(row["path"]), size, changed, unescaped(row["shard"]), offset)


def _fact(name: str, value: Any) -> Any:
    if name == "width" and not 0 < int(value) <= WIDEST:
        raise ValueError(f"width {value}")
    if name in LISTS_OF_NAMES:
        return [*map(_text, value)]
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.80} is no text")
    return value


DECODERS: dict[int, Callable[[str, Any], Any]] = {  # (name, what JSON says) → the value; any error means damage
    FACT: _fact,
    FIT: lambda _, value: _text(value),
    UNREADABLE: lambda _, value: Unreadable(photo_of(value), _text(value["reason"])),
    SHARD: lambda _, value: ShardState(int(value[0]), int(value[1]), bool(value[2])),
    LINK: lambda _, value: _text(value),
    RUN: lambda _, value: Run(_text(value[0]), _text(value[1]), int(value[2]), int(value[3])),
}
