"""The file of an index: arrays behind a header of our own, with a checksum over all of it.

    8 bytes   b"DSNINDEX"
    4, 4      version (1); length of the header, both little-endian
    32        blake2b of everything else in the file, in this order
    header    JSON: {"arrays": [[name, dtype, shape], ...], ...}, ended by spaces
    arrays    in C order, little-endian; header and arrays end on a multiple of 64 bytes

faiss' own format is not used: its reader trusts what it reads, and a damaged file can crash the process. Here whatever is not
exactly what was written is refused before any of it is used. The checksum tells damage, not malice: what the header says is
compared with the file's length before memory is taken for it, and whoever takes the arrays checks their values.
"""

import hashlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from utils.errors import InputError
from utils.files import atomic_write

MAGIC = b"DSNINDEX"
VERSION = 1
_PREFIX = struct.Struct("<8sII")
_DIGEST_BYTES = 32
_START = _PREFIX.size + _DIGEST_BYTES  # of the header
_ALIGNMENT = 64
_DTYPES = ("<i8", "<i4", "<f4", "<f8", "|u1")
_BLOCK = 2**24  # bytes hashed or written at once


def write(path: Path, header: dict, arrays: dict[str, np.ndarray]) -> None:
    """The file whole or not at all. `header` holds what JSON can; InputError if it cannot be written."""
    arrays = {name: np.ascontiguousarray(array, array.dtype.newbyteorder("<")) for name, array in arrays.items()}
    described = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    text = json.dumps({**header, "arrays": described}).encode()
    text += b" " * (-(_START + len(text)) % _ALIGNMENT)
    prefix = _PREFIX.pack(MAGIC, VERSION, len(text))
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    with atomic_write(Path(path)) as temporary, temporary.open("wb") as file:
        file.write(prefix + bytes(_DIGEST_BYTES))
        digest.update(prefix)
        for block in _blocks(text, *arrays.values()):
            digest.update(block)
            file.write(block)
        file.seek(_PREFIX.size)
        file.write(digest.digest())


def _blocks(*parts: bytes | np.ndarray) -> Iterator[memoryview]:
    for part in parts:
        view = memoryview(part.reshape(-1).view(np.uint8) if isinstance(part, np.ndarray) else part)
        for start in range(0, len(view), _BLOCK):
            yield view[start : start + _BLOCK]
        yield memoryview(bytes(-len(view) % _ALIGNMENT if isinstance(part, np.ndarray) else 0))


def read(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """Header and arrays as they were written; the arrays share one buffer and can be written to.

    InputError for a file that cannot be read, is not ours, is of another version, cut short or changed.
    """
    content = _content(Path(path))
    _, version, length = _PREFIX.unpack(content[: _PREFIX.size].tobytes())
    if version != VERSION:
        raise InputError(f"{path}: an index of version {version}; this program reads {VERSION}: index the photos again")
    digest = hashlib.blake2b(content[: _PREFIX.size], digest_size=_DIGEST_BYTES)
    digest.update(content[_START:])
    if digest.digest() != content[_PREFIX.size : _START].tobytes():
        raise damaged(path)
    try:
        header = json.loads(content[_START : _START + length].tobytes())
        return header, _arrays(content, _START + length, header["arrays"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(path) from error


def damaged(path: Path) -> InputError:
    return InputError(f"{path}: the index is damaged; restore it from a copy, or index the photos again")


def _content(path: Path) -> np.ndarray:
    """All bytes, once the first few say that the file is one of ours."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such index file; make one with `search.py index`")
    try:
        with path.open("rb") as file:
            start = file.read(_START)
            if not start.startswith(MAGIC):
                raise InputError(f"{path}: not an index of this program; make one with `search.py index`")
            if len(start) < _START:
                raise damaged(path)
            file.seek(0)
            return np.fromfile(file, np.uint8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check that you may use it") from error
    except MemoryError as error:
        raise InputError(f"{path}: too large for this machine's memory; use one with more, or index with --codes") from error


def _arrays(content: np.ndarray, start: int, described: list) -> dict[str, np.ndarray]:
    """Views of the content. ValueError where the descriptions do not fill it exactly."""
    arrays = {}
    for name, dtype, shape in described:
        if dtype not in _DTYPES or not all(type(side) is int and 0 <= side < 2**48 for side in shape):
            raise ValueError("no such array")
        size = np.dtype(dtype).itemsize
        for side in shape:
            size *= side
        if start + size > len(content):
            raise ValueError("cut short")
        arrays[str(name)] = content[start : start + size].view(dtype).reshape(shape)
        start += size + -size % _ALIGNMENT
    if start != len(content):
        raise ValueError("more than was described")
    return arrays
