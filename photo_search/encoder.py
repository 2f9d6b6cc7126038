"""Drawings and photos → unit vectors, by the network of one checkpoint."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from datasets.views import normalise
from models.cse_resnet import PHOTO, SKETCH
from models.restore import restore_student, weights_digest
from utils.devices import choose_device

IMAGE_SIZE = 224  # where the checkpoint does not say what it was trained at


@dataclass(frozen=True)
class Network:
    """A student that embeds images of `side` pixels; `digest` tells it from any other."""

    student: nn.Module
    device: torch.device
    side: int
    digest: str
    checkpoint: Path

    @property
    def width(self) -> int:
        """Of its vectors."""
        return self.student.original_model.second_last_linear.out_features

    @torch.inference_mode()
    def embed(self, images: np.ndarray, domain: float) -> np.ndarray:
        """(B, side, side, 3) uint8 → (B, width) float32, L2-normalised; `domain` is SKETCH or PHOTO."""
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).to(self.device)
        tags = torch.full((len(images),), domain, device=self.device)
        return F.normalize(self.student(normalise(pixels), tags).embedding.float(), dim=1).cpu().numpy()

    def embed_sketches(self, images: np.ndarray) -> np.ndarray:
        return self.embed(images, SKETCH)

    def embed_photos(self, images: np.ndarray) -> np.ndarray:
        return self.embed(images, PHOTO)


def open_network(checkpoint: Path, device: str = "auto", image_size: int | None = None) -> Network:
    """image_size: None: what the checkpoint says it was trained at, else 224. Raises InputError as `restore_student` does."""
    where = choose_device(device)
    student, content = restore_student(checkpoint, None)
    recorded = content.get("options")
    trained_at = recorded.get("image_size") if isinstance(recorded, dict) else None
    side = image_size or (trained_at if isinstance(trained_at, int) and 32 <= trained_at <= 4096 else IMAGE_SIZE)
    digest = weights_digest(student)
    return Network(student.to(where, memory_format=torch.channels_last), where, side, digest, checkpoint)
