"""Pickles of numbers, arrays and containers, read without letting the pickle call or build anything else.

NumPy's own types take whatever state a pickle holds, memory layout and flags included, and a made-up one reads or frees memory
that is not theirs. `NumberType` to `Scalar` stand in for them while unpickling, and take plain numbers only.
"""

import io
import pickle
import pickletools
import re
import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np


class NumberType:
    """Stands in for `numpy.dtype`: a number."""

    def __init__(self, name: str, align: bool = False, copy: bool = False):
        self.name, self.order = name, "="

    def __setstate__(self, state: tuple):
        self.order = state[1]

    @property
    def dtype(self) -> np.dtype:
        """Raises ValueError if it is another type."""
        if not re.fullmatch(r"[<>=|]([biuf][1248]|c8|c16)", f"{self.order}{self.name}"):
            raise ValueError("not a type of numbers")
        return np.dtype(f"{self.order}{self.name}")


class NumberArray:
    """Stands in for `numpy.ndarray`; `values` is the array, once the pickle has said what is in it."""

    values: np.ndarray | None = None

    def __setstate__(self, state: tuple):
        _, shape, kind, is_fortran, data = state
        self.values = _array(data, kind, shape, "F" if is_fortran else "C")

    def vector(self) -> np.ndarray:
        """All values in a row. Raises ValueError if the pickle never gave them."""
        if self.values is None:
            raise ValueError("an array without content")
        return self.values.reshape(-1)


class Reconstruct:
    """Stands in for `numpy.core.multiarray._reconstruct`: an array still to be filled."""

    def __new__(cls, *_) -> NumberArray:
        return NumberArray()


class FromBuffer:
    """Stands in for `numpy.core.numeric._frombuffer`, which newer protocols call."""

    def __new__(cls, data: bytes, kind: NumberType, shape: tuple, order: str) -> NumberArray:
        array = NumberArray()
        array.values = _array(data, kind, shape, order)
        return array


class Scalar:
    """Stands in for `numpy.core.multiarray.scalar`."""

    def __new__(cls, kind: NumberType, data: bytes) -> np.number:
        return _array(data, kind, (1,), "C")[0]


def _array(data: bytes | str, kind: NumberType, shape: tuple, order: str) -> np.ndarray:
    """A Python 2 pickle's bytes may come as Latin-1 text. Raises ValueError where type, shape and bytes do not fit."""
    data = data.encode("latin1") if isinstance(data, str) else bytes(memoryview(data))
    if not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError("not a shape")
    return np.frombuffer(data, kind.dtype).reshape(shape, order="F" if order == "F" else "C")


class _Bounded:
    """A binary file with `left` bytes to read; asking for more raises ValueError before any memory is taken."""

    def __init__(self, file: BinaryIO, left: int):
        self.file, self.left = file, left

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self.left:
            raise ValueError(f"{size} bytes are claimed where {self.left} are left")
        return self._counted(self.file.read(size))

    def readline(self) -> bytes:
        return self._counted(self.file.readline(self.left))

    def _counted(self, content: bytes) -> bytes:
        self.left -= len(content)
        return content


def read_through(file: BinaryIO, left: int) -> Iterator[Any]:
    """The argument of each instruction of one pickle (None where it has none), up to its end; nothing of it is run.

    left: bytes from the file's position to its end. Raises ValueError, or what `pickletools.genops` raises, where the pickle
    is damaged, ends early, or claims an argument longer than what is left.
    """
    for _, argument, _ in pickletools.genops(_Bounded(file, left)):
        yield argument


class CodeInPickle(Exception):
    """A pickle named something other than an array or a builtin container."""


def load_numbers(content: bytes) -> Any:
    """What a pickle of numbers, arrays (then as `NumberArray`), text and builtin containers holds.

    Raises CodeInPickle if it wants anything else called, and nearly any exception if it is damaged.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd escapes in text
        for _ in read_through(io.BytesIO(content), len(content)):
            pass
        return _NumberUnpickler(io.BytesIO(content), encoding="latin1").load()


def as_vector(value: Any) -> np.ndarray:
    """A number, an array or a list of numbers that `load_numbers` gave, in a row; TypeError or ValueError for anything else."""
    if isinstance(value, NumberArray):
        return value.vector()
    numbers = value if isinstance(value, (list, tuple)) else [value]
    if not all(isinstance(number, (int, float, complex, np.number)) for number in numbers):
        raise TypeError("not numbers")  # lists of lists can name each other, and be endless as an array
    return np.array(numbers)


def _bytearray(content: bytes | str = b"", encoding: str = "latin1") -> bytearray:
    """Never from a length, which may be more than the memory holds."""
    return bytearray(_latin1_bytes(content) if isinstance(content, str) else bytes(memoryview(content)))


def _latin1_bytes(text: str, encoding: str = "latin1") -> bytes:
    """What Python 2 pickles call `_codecs.encode` for, and no other codec."""
    return text.encode("latin1")


class _NumberUnpickler(pickle._Unpickler):
    """In Python: the one in C takes memory for whatever memo index a damaged pickle names, and gives state to anything."""

    def find_class(self, module: str, name: str):
        # NumPy renamed its `core` to `_core` in version 2; files of either age name it as it then was
        qualified = f"{module}.{name}".replace("numpy._core.", "numpy.core.").replace("__builtin__.", "builtins.")
        if qualified not in _ADMITTED:
            raise CodeInPickle(f"{module}.{name}")
        return _ADMITTED[qualified]

    def load_build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], (NumberType, NumberArray)):
            raise CodeInPickle(f"state of a {type(self.stack[-1]).__name__}")
        self.stack[-1].__setstate__(state)

    dispatch = pickle._Unpickler.dispatch | {pickle.BUILD[0]: load_build}


_ADMITTED = {
    "numpy.ndarray": NumberArray,
    "numpy.dtype": NumberType,
    "numpy.core.multiarray._reconstruct": Reconstruct,
    "numpy.core.multiarray.scalar": Scalar,
    "numpy.core.numeric._frombuffer": FromBuffer,
    "_codecs.encode": _latin1_bytes,
    "collections.OrderedDict": dict,
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "builtins.bytearray": _bytearray,
    "builtins.complex": complex,
}
