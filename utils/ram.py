"""Out-of-memory errors and the peak memory of a run."""

import contextlib
import sys
from collections.abc import Iterator

import torch

from utils.errors import InputError

ON_CPU = "DefaultCPUAllocator"
SIGNS = (ON_CPU, "out of memory", "ALLOC_FAILED")  # in messages of PyTorch's plain RuntimeErrors


def peak_memory(device: torch.device) -> str:
    """Peak memory of this process, and on a GPU of its tensors, as text."""
    parts = []
    with contextlib.suppress(ImportError):  # Windows
        import resource

        unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
        parts.append(f"{_format_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)} in this process")
    if device.type == "cuda":
        parts.append(f"{_format_bytes(torch.cuda.max_memory_allocated(device))} in tensors on the GPU")
        parts.append(f"{_format_bytes(torch.cuda.max_memory_reserved(device))} reserved there")
    return ", ".join(parts) or "unknown"


@contextlib.contextmanager
def report_out_of_memory(hint: str) -> Iterator[None]:
    """Raise InputError, with `hint` as advice, if the block runs out of memory on the CPU or the GPU."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        is_known = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(sign in str(error) for sign in SIGNS)
        if not is_known:
            raise
        place = "CPU" if isinstance(error, MemoryError) or ON_CPU in str(error) else "GPU"
        raise InputError(f"out of memory on the {place}; {hint}") from error


def _format_bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
