"""Out-of-memory errors and the peak memory of a run."""

import contextlib
import sys
from collections.abc import Iterator

import torch

from utils.errors import InputError


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
    except MemoryError as error:
        raise InputError(f"out of memory; {hint}") from error
    except RuntimeError as error:  # PyTorch raises OutOfMemoryError, a RuntimeError, on a GPU, and a plain RuntimeError on a CPU
        place = _where_memory_ran_out(str(error))
        if isinstance(error, torch.OutOfMemoryError) or place:
            raise InputError(f"out of memory {place or 'on the GPU'}; {hint}") from error
        raise


def _where_memory_ran_out(message: str) -> str:
    if "DefaultCPUAllocator" in message:
        return "on the CPU"
    if "out of memory" in message or "ALLOC_FAILED" in message:
        return "on the GPU"
    return ""


def _format_bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
