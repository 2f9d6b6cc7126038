"""Read pickles of numbers, arrays and containers without letting the pickle call or build anything else.

NumPy's own types accept whatever state a pickle holds, memory layout and flags included, and a forged state makes them read or
free memory that is not theirs. `NumberType`, `NumberArray` and `scalar` replace them and accept plain numbers only.
"""

import io
import pickle
import pickletools
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np


class NumberType:
    """Replaces `numpy.dtype`: a type of numbers."""

    def __init__(self, name: str, align: bool = False, copy: bool = False):
        self.name, self.order = name, "="

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]

    @property
    def dtype(self) -> np.dtype:
        """Raises ValueError if it is another type."""
        if not re.fullmatch(r"[<>=|][biuf][1248]", f"{self.order}{self.name}"):
            raise ValueError("not a type of numbers")
        return np.dtype(f"{self.order}{self.name}")


class NumberArray:
    """Replaces `numpy.ndarray`; `values` is None until the pickle sets the content."""

    def __init__(self, values: np.ndarray | None = None):
        self.values = values

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, is_fortran, data = state
        self.values = _array(data, kind, shape, "F" if is_fortran else "C")

    def vector(self) -> np.ndarray:
        """All values in one dimension. Raises ValueError if the pickle has set none."""
        if self.values is None:
            raise ValueError("an array without content")
        return self.values.reshape(-1)


def scalar(kind: NumberType, data: bytes) -> Any:
    """Replaces `numpy.core.multiarray.scalar`: one NumPy number."""
    return _array(data, kind, (1,), "C")[0]


def _reconstruct(*_: object) -> NumberArray:
    """Replaces `numpy.core.multiarray._reconstruct`, which makes an array that is filled later."""
    return NumberArray()


def _frombuffer(data: bytes, kind: NumberType, shape: tuple, order: str) -> NumberArray:
    """Replaces `numpy.core.numeric._frombuffer`, which newer protocols call."""
    return NumberArray(_array(data, kind, shape, order))


def _array(data: bytes | str, kind: NumberType, shape: tuple, order: str) -> np.ndarray:
    """The bytes of a Python 2 pickle may come as Latin-1 text. Raises ValueError where type, shape and bytes do not fit."""
    data = data.encode("latin1") if isinstance(data, str) else bytes(memoryview(data))
    if not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError("not a shape")
    return np.frombuffer(data, kind.dtype).reshape(shape, order="F" if order == "F" else "C")


def _latin1_bytes(text: str, encoding: str = "latin1") -> bytes:
    """Python 2 pickles call `_codecs.encode` for this codec only."""
    return text.encode("latin1")


_ADMITTED: dict[str, Callable] = {
    "numpy.ndarray": NumberArray,
    "numpy.dtype": NumberType,
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy.core.multiarray.scalar": scalar,
    "numpy.core.numeric._frombuffer": _frombuffer,
    "_codecs.encode": _latin1_bytes,
    "collections.OrderedDict": dict,
}


class CodeInPickle(Exception):
    """A pickle names something other than an array, a number or a container of them."""


_PythonUnpickler: Any = pickle._Unpickler  # type: ignore[attr-defined, unused-ignore]


class _NumberUnpickler(_PythonUnpickler):
    """In Python: the C version reserves memory for any memo index that a damaged pickle names, and sets state on anything."""

    def find_class(self, module: str, name: str) -> Callable:
        # NumPy renamed its `core` to `_core` in version 2
        qualified = f"{module}.{name}".replace("numpy._core.", "numpy.core.")
        if qualified not in _ADMITTED:
            raise CodeInPickle(f"{module}.{name}")
        return _ADMITTED[qualified]

    def load_build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], (NumberType, NumberArray)):
            raise CodeInPickle(f"state of a {type(self.stack[-1]).__name__}")
        self.stack[-1].__setstate__(state)

    dispatch = _PythonUnpickler.dispatch | {pickle.BUILD[0]: load_build}


def load_numbers(content: bytes) -> Any:
    """Load a pickle of numbers, arrays (as `NumberArray`), text, lists, tuples and dicts.

    Raises CodeInPickle if it calls anything else, and nearly any exception if it is damaged.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd escapes in text
        for _ in pickletools.genops(content):
            pass  # raises ValueError for an argument that is longer than the content
        return _NumberUnpickler(io.BytesIO(content), encoding="latin1").load()


def as_vector(value: Any) -> np.ndarray:
    """A number, array or list of numbers from `load_numbers` in one dimension; TypeError or ValueError for anything else."""
    if isinstance(value, NumberArray):
        return value.vector()
    numbers = value if isinstance(value, (list, tuple)) else [value]
    if not all(isinstance(number, (int, float, np.number)) for number in numbers):
        raise TypeError("not numbers")  # lists that contain each other would be endless as an array
    return np.array(numbers)
