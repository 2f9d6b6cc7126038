"""Drawings and photos → unit vectors, by the network of one checkpoint."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from datasets.views import normalise
from models.cse_resnet import PHOTO, SKETCH
from models.restore import recorded_image_size, restore_student, weights_digest
from utils.devices import choose_device

IMAGE_SIZE = 224  # where the checkpoint does not record the size it was trained at


@dataclass(frozen=True)
class Network:
    """A student that embeds images of `side` pixels as vectors of `width` numbers. `digest` identifies its weights."""

    student: nn.Module
    device: torch.device
    side: int
    width: int
    digest: str
    checkpoint: Path

    def embed_sketches(self, images: np.ndarray) -> np.ndarray:
        """(B, side, side, 3) uint8 → (B, width) float32, L2-normalised."""
        return self._embed(images, SKETCH)

    def embed_photos(self, images: np.ndarray) -> np.ndarray:
        """As `embed_sketches`."""
        return self._embed(images, PHOTO)

    @torch.inference_mode()
    def _embed(self, images: np.ndarray, domain: float) -> np.ndarray:
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).to(self.device)
        domains = torch.full((len(images),), domain, device=self.device)
        return F.normalize(self.student(normalise(pixels), domains).embedding.float(), dim=1).cpu().numpy()


def open_network(checkpoint: Path, device: str = "auto", image_size: int | None = None) -> Network:
    """image_size None: the size that the checkpoint records, else 224. Raises InputError as `restore_student` does."""
    where = choose_device(device)
    student, content = restore_student(checkpoint, None)
    side = image_size or recorded_image_size(content) or IMAGE_SIZE
    width, digest = student.original_model.second_last_linear.out_features, weights_digest(student)
    return Network(student.to(where, memory_format=torch.channels_last), where, side, width, digest, checkpoint)
