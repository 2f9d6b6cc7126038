"""How much memory there is, and how much a run took."""

import contextlib
import sys
from pathlib import Path

import torch


def available_memory() -> int | None:
    """Bytes a process can still take: what the system has available, or less where a container limits it; None if unknown."""
    found = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    with contextlib.suppress(OSError, ValueError):  # "max" where the container sets no limit
        group = Path("/sys/fs/cgroup")
        found.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    return min(found, default=None)


def peak_memory(device: torch.device) -> str:
    """The most memory this process has held so far, and its tensors on the GPU if it used one, as text."""
    parts = []
    with contextlib.suppress(ImportError):  # Windows
        import resource

        unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
        parts.append(f"{gigabytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)} in this process")
    if device.type == "cuda":
        parts.append(f"{gigabytes(torch.cuda.max_memory_allocated(device))} in tensors on the GPU")
        parts.append(f"{gigabytes(torch.cuda.max_memory_reserved(device))} reserved there")
    return ", ".join(parts) or "unknown"


def gigabytes(count: int) -> str:
    """Bytes as people read them: `1.5 GB` (10⁹), `12 MB` below a tenth of that."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
