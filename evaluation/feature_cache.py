"""Features on disk, so that testing one checkpoint again does not embed its images again.

A file is found by what its features depend on: the weights, the images (each one's path, size and time of change), how
they were fed, the code on the way from file to feature, and the versions of what decodes and computes. If any of these
differs, the features are made anew.
"""

from pathlib import Path

import numpy as np
import PIL
import torch

from datasets.file_lists import FileList
from models.restore import weights_digest
from utils.arrays import read_npz
from utils.errors import InputError
from utils.files import atomic_write
from utils.fingerprints import fingerprint

CODE = (
    "datasets/images.py",
    "datasets/views.py",
    "datasets/batches.py",
    "evaluation/embedding.py",
    "models/cse_resnet.py",
    "models/dsn.py",
)
VERSIONS = {"torch": torch.__version__, "pillow": PIL.__version__, "numpy": np.__version__}


class FeatureCache:
    """`.npz` files in `folder`; they can be deleted at any time."""

    def __init__(self, folder: Path, student: torch.nn.Module):
        self.folder = folder
        self.weights = weights_digest(student)

    def path(self, files: FileList, **fed: object) -> Path:
        """Where the features of these images belong; `fed` is all else they depend on, as JSON can hold it."""
        key = fingerprint(CODE, weights=self.weights, files=files.fingerprint(), versions=VERSIONS, **fed)
        return self.folder / f"{files.source.stem}-{key}.npz"

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
            with atomic_write(path) as temporary:
                np.savez(temporary, features=features.cpu().numpy())
        except InputError as error:
            print(f"note: features are not kept for the next test: {error}")
