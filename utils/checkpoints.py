"""Checkpoint files in the released form: read as data, never run as code; written whole or not at all.

A file is a dict with `epoch` (the next one to train), `arch`, `state_dict` (every key behind `module.`, as DataParallel left it),
`best_acc1` and `optimizer`.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray

from utils.errors import InputError
from utils.files import written_whole

PREFIX = "module."
# Besides tensors and containers, old files hold a NumPy number (`best_acc1`); nothing here can run code.
ALLOWED = [
    # by either name: NumPy renamed its `core` to `_core` in version 2
    (multiarray.scalar, "numpy.core.multiarray.scalar"),
    (multiarray.scalar, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32")),
]


def read_torch_file(path: Path, option: str = "the checkpoint") -> Any:
    """Any object of tensors and containers that torch.save wrote, on the CPU.

    Raises InputError if the file is missing, truncated, or holds anything that would have to be run.
    """
    if not path.is_file():
        fault = "is a folder, not a file" if path.is_dir() else "no such file"
        raise InputError(f"{path}: {fault}; {option} needs a checkpoint file")
    try:
        with torch.serialization.safe_globals(ALLOWED), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail anywhere in unzipping, unpickling or rebuilding
        if "GLOBAL" in str(error) or "Unsupported class" in str(error):
            raise InputError(f"{path}: refused, for it holds more than weights: {_offender(error)}") from error
        raise InputError(f"{path}: damaged or not a PyTorch file; fetch or save it again") from error


def read_tensors(path: Path, option: str = "the checkpoint") -> dict[str, torch.Tensor]:
    """A plain state dict from `.pth`, `.pth.tar` (under `state_dict` or `model`) or `.safetensors`."""
    if path.suffix == ".safetensors" and path.is_file():
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except Exception as error:  # SafetensorError is not public, and truncation raises others
            raise InputError(f"{path}: damaged or not a safetensors file; fetch it again") from error
    content = read_torch_file(path, option)
    for wrapper in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not any(isinstance(value, torch.Tensor) for value in content.values()):
        raise InputError(f"{path}: holds no state dict; give {option} a file of weights")
    return {key: value for key, value in content.items() if isinstance(value, torch.Tensor)}


def read_checkpoint(path: Path, option: str = "the checkpoint") -> dict[str, Any]:
    """A checkpoint whose `state_dict` has lost its `module.` prefix."""
    content = read_torch_file(path, option)
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise InputError(f"{path}: no `state_dict` in it; give {option} a checkpoint.pth.tar or model_best.pth.tar")
    if not all(isinstance(key, str) for key in content["state_dict"]):
        raise InputError(f"{path}: its `state_dict` has keys that are no names; this is not a checkpoint of this network")
    content["state_dict"] = without_prefix(content["state_dict"], PREFIX)
    return content


def write_checkpoint(
    path: Path, *, epoch: int, arch: str, state: dict, best: float, optimizer: dict | None, **extra: Any
) -> None:
    """Write the released form; `state` without prefix, `epoch` the next one to train. `extra` holds tensors and containers."""
    content = {
        "epoch": epoch,
        "arch": arch,
        "state_dict": {PREFIX + key: value for key, value in state.items()},
        "best_acc1": torch.tensor(best),
        "optimizer": optimizer,
        **extra,
    }
    with written_whole(path) as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:  # how PyTorch's writer reports a full disk
            raise InputError(f"{path}: cannot be written whole; free space, then go on with --resume") from error


def without_prefix(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The same dict with `prefix` cut off the keys that have it."""
    return {key.removeprefix(prefix): value for key, value in state.items()}


def load_state(module: torch.nn.Module, state: dict[str, torch.Tensor], path: Path, optional: tuple[str, ...] = ()) -> list[str]:
    """Copy `state` into `module` and return the keys it has no place for; those that start with an `optional` may be missing.

    Raises InputError naming the first missing, mis-shaped or non-tensor key.
    """
    for key, parameter in module.state_dict().items():
        if key not in state:
            # files from before PyTorch 0.4.1 lack num_batches_tracked, and nothing reads it
            if key.endswith("num_batches_tracked") or key.startswith(optional):
                continue
            raise InputError(f"{path}: `{key}` is missing; this is not a whole checkpoint of this network")
        if not isinstance(state[key], torch.Tensor):
            raise InputError(f"{path}: `{key}` is not a tensor; this is not a checkpoint of this network")
        is_same_counter = key.endswith("num_batches_tracked") and state[key].numel() == 1  # some files hold a vector
        if state[key].shape != parameter.shape and not is_same_counter:
            found, wanted = tuple(state[key].shape), tuple(parameter.shape)
            raise InputError(f"{path}: `{key}` is {found}, but the options ask for {wanted}")
    own = module.state_dict()
    module.load_state_dict({k: state[k].reshape(v.shape) if k in state else v for k, v in own.items()})
    return sorted(key for key in state if key not in own)


def _offender(error: Exception) -> str:
    """The name a refused pickle wanted to call, out of PyTorch's long message."""
    for line in str(error).splitlines():
        if "GLOBAL" in line or "Unsupported class" in line:
            return line.strip()[:160]
    return "its pickle calls code"
