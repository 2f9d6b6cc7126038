"""Drawings and photos → unit vectors, by the network of one checkpoint."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from models.embedding import EmbeddingNetwork, embedding_network, trained_preprocessing
from models.restore import recorded_image_size, restore_student, weights_digest
from models.trunk import PHOTO, SKETCH
from utils.devices import choose_device


@dataclass(frozen=True)
class Network:
    """Embeds images of `side` pixels as vectors of `width` numbers. `digest` identifies its weights."""

    embedding: EmbeddingNetwork
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
        return self.embedding.embed(self.embedding.preprocessing.normalise(pixels), domains).cpu().numpy()


def open_network(checkpoint: Path, device: str = "auto", image_size: int | None = None) -> Network:
    """image_size None: the size that the checkpoint records, else 224. Raises InputError as `restore_student` does."""
    where = choose_device(device)
    student, content = restore_student(checkpoint, None)
    embedding = embedding_network(student, trained_preprocessing(student, recorded_image_size(content), image_size))
    side, digest = embedding.preprocessing.image_size, weights_digest(student)
    return Network(embedding.to(where, memory_format=torch.channels_last), where, side, embedding.width, digest, checkpoint)
