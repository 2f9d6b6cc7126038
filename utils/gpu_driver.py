"""Whether a GPU can be there at all, without importing PyTorch, which takes a second or more."""

import contextlib
import ctypes
import sys
from pathlib import Path


def has_gpu_driver() -> bool:
    """False only if PyTorch cannot find a CUDA or ROCm device: the driver of neither is installed."""
    with contextlib.suppress(OSError):
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        return True
    return Path("/dev/kfd").exists()
