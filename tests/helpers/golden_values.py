"""The released functions' values, and the formulas that made their weights and inputs."""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

GOLDEN = Path(__file__).parent.parent / "golden"


def arrays() -> dict[str, np.ndarray]:
    """All golden arrays by name."""
    with np.load(GOLDEN / "network_and_losses.npz") as file:
        return dict(file)


def manifest(network: str) -> dict[str, list]:
    """{key: [shape, dtype]} of `student` or `teacher`, in the order of the released file."""
    return json.loads((GOLDEN / "state_dict_manifest.json").read_text())[network]


def weights(network: str) -> dict[str, torch.Tensor]:
    """A state dict for the network, each tensor seeded by its own name."""
    salt = "teacher." if network == "teacher" else ""
    return {key: _tensor(key, tuple(shape), salt) for key, (shape, _) in manifest(network).items()}


def images(n: int = 4, seed: int = 11, size: int = 224) -> torch.Tensor:
    """(n, 3, size, size) float32 noise in the place of normalised images."""
    return torch.from_numpy(np.random.RandomState(seed).standard_normal((n, 3, size, size)).astype(np.float32))


def _tensor(key: str, shape: tuple, salt: str) -> torch.Tensor:
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    value = np.random.RandomState(zlib.crc32((salt + key).encode())).standard_normal(shape)
    if key.endswith("running_var"):
        value = 1 + 0.1 * np.abs(value)
    elif key.endswith("running_mean"):
        value = 0.1 * value
    elif (".bn" in key and key.endswith("weight")) or "downsample.1.weight" in key:
        value = 0.5 + 0.1 * value
    elif key.endswith("bias"):
        value = 0.1 * value
    else:
        value = value * np.sqrt(2.0 / max(1, np.prod(shape[1:])))
    return torch.from_numpy(np.asarray(value, dtype=np.float32)).reshape(shape)
