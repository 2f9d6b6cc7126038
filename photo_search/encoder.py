"""Drawings and photos → unit vectors, by a trained network or an untrained trunk."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from datasets.images import Fit
from models.embedding import EmbeddingNetwork, embedding_network, trained_preprocessing
from models.names import DOWNLOAD, PHOTO, SKETCH
from models.restore import recorded_image_size, restore_student, weights_digest
from models.trunks import initial_trunk
from utils.devices import choose_device

POSITIONS = re.compile("(?<![a-z])pos(ition)?(?![a-z])")  # pos_embed, rel_pos_bias, relative_position_index; not post_norm


@dataclass(frozen=True)
class Network:
    """Embeds images of `side` pixels as vectors of `width` numbers. `digest` identifies its weights.

    weights: where they are: the absolute path of a file, or `imagenet` (download). untrained: value of `--arch` of a trunk with
    its initial weights; None if the weights are a trained checkpoint.
    """

    embedding: EmbeddingNetwork
    device: torch.device
    digest: str
    weights: str
    untrained: str | None = None

    @property
    def side(self) -> int:
        return self.embedding.preprocessing.image_size

    @property
    def width(self) -> int:
        return self.embedding.width

    @property
    def fit(self) -> Fit | None:
        """How `datasets.images.decode` makes a photo as large as the network expects."""
        return self.embedding.preprocessing.fit

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
    """A trained network. image_size None: as the checkpoint records, else the trunk's own.

    Raises InputError as `restore_student` and `trained_preprocessing` do.
    """
    where = choose_device(device)
    student, content = restore_student(checkpoint, None)
    embedding = embedding_network(student, trained_preprocessing(student, recorded_image_size(content), image_size))
    digest = weights_digest(student)
    return Network(embedding.to(where, memory_format=torch.channels_last), where, digest, str(checkpoint.resolve()))


def open_untrained(arch: str, weights: str, device: str = "auto", image_size: int | None = None) -> Network:
    """A trunk's pooled feature, with initial weights from a file or `imagenet` (download); image_size None: the trunk's own.

    Raises InputError as `initial_trunk` does.
    """
    where = choose_device(device)
    trunk = initial_trunk(arch, weights, image_size)
    # resampled for another image size, position embeddings are not the same to the last bit on every machine
    digest = weights_digest(trunk, leave_out=POSITIONS)
    embedding = EmbeddingNetwork(trunk, trunk.preprocessing).to(where, memory_format=torch.channels_last)
    return Network(embedding, where, digest, weights if weights == DOWNLOAD else str(Path(weights).resolve()), arch)
