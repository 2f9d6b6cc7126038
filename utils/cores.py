"""What the CPU has: cores, threads and bfloat16."""

import contextlib
import os
import sys
from pathlib import Path


def usable_cores() -> int:
    """How many CPU cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compute_threads() -> int:
    """How many threads NumPy code may use: PyTorch's number if it is imported, else OMP_NUM_THREADS, else the usable cores."""
    if "torch" in sys.modules:
        return int(sys.modules["torch"].get_num_threads())
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return int(limit) if limit.isdecimal() and int(limit) else usable_cores()


def has_bf16() -> bool:
    """Whether the CPU computes in bfloat16 faster than in float32: AVX-512 BF16 or AMX."""
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text().split()
        return "avx512_bf16" in flags or "amx_bf16" in flags
    return False
