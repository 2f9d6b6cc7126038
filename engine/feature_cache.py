"""Features on disk, so that testing one checkpoint again does not embed its images again.

A file is found by what its features depend on: the weights, the images (each one's path, size and time of change), how
they were fed, and the versions of what decodes and computes. If any of these differs, the features are made anew.
"""

import hashlib
import importlib.metadata
import json
import os
from pathlib import Path

import numpy as np
import torch

from datasets.file_lists import FileList
from utils.arrays import read_npz
from utils.errors import InputError
from utils.files import written_whole

FORMAT = 1  # raised when the way from image to feature changes in this code
LIBRARIES = ("torch", "pillow", "numpy")


class FeatureCache:
    """`.npz` files in `folder`; they can be deleted at any time."""

    def __init__(self, folder: Path, student: torch.nn.Module):
        self.folder = folder
        self.weights = _digest_of_weights(student)

    def path(self, files: FileList, **fed: object) -> Path:
        """Where the features of these images belong; `fed` is all else they depend on, as JSON can hold it."""
        versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
        key = {"format": FORMAT, "weights": self.weights, "files": _digest_of_files(files), "versions": versions, **fed}
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{files.source.stem}-{digest[:20]}.npz"

    def load(self, path: Path, rows: int) -> torch.Tensor | None:
        """(rows, d) float32, or None where there is no whole file."""
        try:
            features = read_npz(path, ["features"])["features"]  # the archive's checksum is compared in reading
        except InputError:
            return None
        is_whole = features.dtype == np.float32 and features.ndim == 2 and len(features) == rows and np.isfinite(features).all()
        return torch.from_numpy(features) if is_whole else None

    def store(self, path: Path, features: torch.Tensor) -> None:
        """Keep them; where that is impossible, say so and go on."""
        try:
            with written_whole(path) as temporary:
                np.savez(temporary, features=features.cpu().numpy())
        except InputError as error:
            print(f"note: features are not kept for the next test: {error}")


def _digest_of_weights(student: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in student.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _digest_of_files(files: FileList) -> str:
    digest = hashlib.sha256(f"{os.path.abspath(files.root)}\n".encode())
    for path in files.paths:
        status = os.stat(f"{files.root}/{path}")
        digest.update(f"{path}\n{status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
