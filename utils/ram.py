"""How much memory there is, and how much a run took."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from utils.errors import InputError


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes a process can still take: what the system has available, or less where a container limits it; None if unknown.

    `root`: where `proc/` and `sys/` are. Control groups of both versions count, each with the groups above it.
    """
    found = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = (root / "proc/meminfo").read_text().splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    with contextlib.suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, kinds, group = line.split(":", 2)
            if kinds in ("", "memory"):
                top = root / "sys/fs/cgroup" / kinds
                below = [part for part in group.split("/") if part not in ("", "..")]
                found += [_left(top.joinpath(*below[:depth])) for depth in range(len(below) + 1)]
    return min((left for left in found if left is not None), default=None)


def _left(group: Path) -> int | None:
    """What a control group may still take, its page cache counted as free; None without a limit."""
    for limit, usage in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        with contextlib.suppress(OSError, ValueError):  # not there, or "max"
            left = int((group / limit).read_text()) - int((group / usage).read_text())
            statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            return left + int(statistics.get("total_inactive_file", statistics.get("inactive_file", 0)))
    return None


def peak_memory(device: torch.device) -> str:
    """The most memory this process has held so far, and its tensors on the GPU if it used one, as text."""
    parts = []
    with contextlib.suppress(ImportError):  # Windows
        import resource

        unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
        parts.append(f"{format_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)} in this process")
    if device.type == "cuda":
        parts.append(f"{format_bytes(torch.cuda.max_memory_allocated(device))} in tensors on the GPU")
        parts.append(f"{format_bytes(torch.cuda.max_memory_reserved(device))} reserved there")
    return ", ".join(parts) or "unknown"


@contextlib.contextmanager
def report_out_of_memory(hint: str) -> Iterator[None]:
    """Raise InputError, with `thrift` for what to do, where the block runs out of memory, on the device or beside it."""
    try:
        yield
    except MemoryError as error:
        raise InputError(f"out of memory; {hint}") from error
    except RuntimeError as error:  # what PyTorch raises on a GPU is one, and on a CPU nothing more particular
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


def format_bytes(count: int) -> str:
    """Bytes as people read them: `1.5 GB` (10⁹), below a tenth of that in MB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
