"""What the options of a training or a test resolve to on this machine."""

from dataclasses import dataclass

import torch

from evaluation.config import DataOptions, DeviceOptions
from utils.devices import choose_device, resolve_amp, resolve_workers
from utils.distributed import Distributed


@dataclass(frozen=True)
class Resources:
    """Device, precision, data-loading processes, and the process group."""

    device: torch.device
    amp: str  # bf16, fp16 or off
    num_workers: int
    distributed: Distributed = Distributed()


def resolve(runtime: DeviceOptions, data: DataOptions, distributed: Distributed | None = None) -> Resources:
    """Raises InputError if the device is not available."""
    distributed = distributed or Distributed()
    device = choose_device(runtime.device)
    workers = resolve_workers(data.num_workers, device, distributed.local_world_size)
    return Resources(device, resolve_amp(device, runtime.amp), workers, distributed)
