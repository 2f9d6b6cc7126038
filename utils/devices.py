"""Which device to run on, and in which precision."""

import contextlib
import time
from pathlib import Path

import torch

from utils.cores import usable_cores
from utils.errors import InputError


def choose_device(name: str) -> torch.device:
    """The device called `name`; `auto`: the first CUDA device, else the CPU. Raises InputError if it is not available."""
    torch.backends.cudnn.allow_tf32 = False  # lower precision is opt-in with --amp
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).item()
    except Exception as error:  # each backend raises its own kind
        raise InputError(f"--device {name}: not available on this machine; use --device auto") from error
    return device


def finished(device: torch.device) -> float:
    """Wait until the device is idle and return the time in seconds; for measurements, not for a training step."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _has_native_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 on the device: Ampere and later, or a CPU with AVX-512 BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        with contextlib.suppress(OSError):
            flags = Path("/proc/cpuinfo").read_text().split()
            return "avx512_bf16" in flags or "amx_bf16" in flags
    return False


def autocast(device: torch.device, amp: str) -> torch.autocast:
    """The context for forward passes: amp is `bf16`, `off`, or `auto` (bf16 where it is native)."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=uses_bf16(device, amp))


def uses_bf16(device: torch.device, amp: str) -> bool:
    """Whether `autocast` computes in bfloat16."""
    return amp == "bf16" or (amp == "auto" and _has_native_bf16(device))


def resolve_workers(num_workers: int | None, device: torch.device, processes: int = 1) -> int:
    """`num_workers` if given; else enough worker processes to feed a GPU, or one, which leaves a CPU's cores to the network.

    processes: training processes that share the machine's cores.
    """
    if num_workers is not None:
        return num_workers
    return 1 if device.type == "cpu" else max(1, min(8, usable_cores() // processes))
