"""Features on disk, so that a second test of a checkpoint need not embed its images again.

A file's name is a digest of all that its features depend on: weights, images (path, size and modification time of each),
image size, precision and device, the code from file to feature, and the versions of the libraries.
"""

from pathlib import Path

import numpy as np
import torch

from datasets.file_lists import FileList
from utils.arrays import read_npz
from utils.errors import InputError
from utils.files import atomic_write
from utils.fingerprints import fingerprint, versions_of

CODE = (
    "datasets/images.py",
    "datasets/views.py",
    "datasets/batches.py",
    "evaluation/embedding.py",
    "datasets/preprocessing.py",
    "models/batchnorm_folding.py",
    "models/cse_resnet.py",
    "models/domain_tag.py",
    "models/embedding.py",
    "models/engines.py",
    "models/openvino_engine.py",
    "models/pixels.py",
    "models/timm_trunk.py",
    "models/torch_engine.py",
)
LIBRARIES = "torch", "torchvision", "timm", "openvino", "pillow", "numpy"


class FeatureCache:
    """`.npz` files in `folder`; they can be deleted at any time.

    network: all that features depend on besides the images and their domain, as JSON values.
    """

    def __init__(self, folder: Path, **network: object):
        self.folder, self.network = folder, network

    def path(self, files: FileList, domain: float) -> Path:
        """The file of these images' features."""
        key = fingerprint(CODE, files=files.fingerprint(), versions=versions_of(LIBRARIES), domain=domain, **self.network)
        return self.folder / f"{files.source.stem}-{key}.npz"

    def load(self, path: Path, rows: int) -> torch.Tensor | None:
        """(rows, d) float32, or None if there is no undamaged file."""
        try:
            features = read_npz(path, ["features"])["features"]  # reading compares the archive's checksum
        except InputError:
            return None
        is_whole = features.dtype == np.float32 and features.ndim == 2 and len(features) == rows and np.isfinite(features).all()
        return torch.from_numpy(features) if is_whole else None

    def store(self, path: Path, features: torch.Tensor) -> None:
        """Write the features (rows, d); prints a note if that fails."""
        try:
            with atomic_write(path) as temporary:
                np.savez(temporary, features=features.cpu().numpy())
        except InputError as error:
            print(f"note: features are not cached: {error}")
