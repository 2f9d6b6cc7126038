"""Which device to run on, and in which precision."""

import contextlib
import time
from pathlib import Path

import torch

from utils.cores import usable_cores
from utils.errors import InputError


def choose_device(name: str) -> torch.device:
    """`auto` is the first CUDA device, else the CPU. Raises InputError for a device that is not there."""
    torch.backends.cudnn.allow_tf32 = False  # float32 means float32; less is what --amp is for
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).item()
    except Exception as error:  # each backend fails in a way of its own
        raise InputError(f"--device {name}: not available on this machine; use --device auto") from error
    return device


def finished(device: torch.device) -> float:
    """The time in seconds once the device has done what it was given; for measuring, not for a training step."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def has_native_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 there: Ampere and later, or a CPU with AVX-512 BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        with contextlib.suppress(OSError):
            flags = Path("/proc/cpuinfo").read_text().split()
            return "avx512_bf16" in flags or "amx_bf16" in flags
    return False


def autocast(device: torch.device, amp: str) -> torch.autocast:
    """The context for forward passes: amp is `bf16`, `off`, or `auto` (bf16 where the device has it natively)."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=uses_bf16(device, amp))


def uses_bf16(device: torch.device, amp: str) -> bool:
    """Whether `autocast` computes in bfloat16."""
    return amp == "bf16" or (amp == "auto" and has_native_bf16(device))


def resolve_workers(asked: int | None, device: torch.device, sharing: int = 1) -> int:
    """What was asked for; else enough processes to feed a GPU, or one, which leaves a CPU's cores to the network.

    `sharing`: how many training processes the machine's cores are shared by.
    """
    if asked is not None:
        return asked
    return 1 if device.type == "cpu" else max(1, min(8, usable_cores() // sharing))
