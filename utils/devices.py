"""Which device to run on, and in which precision."""

import time

import torch

from utils.cores import has_bf16, usable_cores
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


def has_native_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 on the device: Ampere and later, or a CPU with AVX-512 BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and has_bf16()


def autocast(device: torch.device, amp: str) -> torch.autocast:
    """The context for forward passes in training: amp is `bf16` or `off`."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=amp == "bf16")


def resolve_amp(device: torch.device, amp: str) -> str:
    """bf16, fp16 or off; `auto` is bf16 where the device has it natively. Raises InputError for fp16 on a CPU."""
    if amp == "fp16" and device.type == "cpu":
        raise InputError("--amp fp16: needs a GPU; use --amp bf16 or off")
    return amp if amp != "auto" else "bf16" if has_native_bf16(device) else "off"


def resolve_workers(num_workers: int | None, device: torch.device, processes: int = 1) -> int:
    """`num_workers` if given; else enough worker processes to feed a GPU, or one, which leaves a CPU's cores to the network.

    processes: training processes that share the machine's cores.
    """
    if num_workers is not None:
        return num_workers
    return 1 if device.type == "cpu" else max(1, min(8, usable_cores() // processes))
