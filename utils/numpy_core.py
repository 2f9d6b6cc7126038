"""Where NumPy keeps what pickles of arrays name."""

import importlib
from types import ModuleType


def numpy_core(name: str) -> ModuleType:
    """`numpy._core.<name>`, or `numpy.core.<name>` as it was called before version 2."""
    try:
        return importlib.import_module(f"numpy._core.{name}")
    except ImportError:
        return importlib.import_module(f"numpy.core.{name}")
