"""Images and their domains → unit vectors, which retrieval compares."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from datasets.preprocessing import Preprocessing
from models.dsn import Student
from models.names import PHOTO, SKETCH
from models.trunk import Trunk
from models.trunks import preprocessing_for
from utils.errors import InputError

DOMAINS = {"sketch": SKETCH, "photo": PHOTO}


class EmbeddingNetwork(nn.Module):
    """A trunk and the embedding layer on top, if there is one; images must be prepared by `preprocessing`."""

    def __init__(self, trunk: Trunk, preprocessing: Preprocessing, projection: nn.Linear | None = None) -> None:
        super().__init__()
        self.trunk, self.projection, self.preprocessing = trunk, projection, preprocessing
        self.width = trunk.feature_dim if projection is None else projection.out_features

    def embed(self, images: torch.Tensor, domain: str | float | torch.Tensor) -> torch.Tensor:
        """images (B, 3, H, W) → (B, width) float32 of length 1.

        domain: "sketch" or "photo" for all images, or a tensor (B,) of SKETCH or PHOTO. Raises ValueError for
        another word or shape.
        """
        if isinstance(domain, str):
            if domain not in DOMAINS:
                raise ValueError(f"domain {domain!r}: must be 'sketch' or 'photo'")
            domain = DOMAINS[domain]
        if images.ndim != 4:
            raise ValueError(f"images of shape {tuple(images.shape)}: must be (B, 3, H, W); one image needs [None]")
        if not isinstance(domain, torch.Tensor):
            domain = torch.full((len(images),), domain, device=images.device)
        features = self.trunk.features(images, domain)
        return F.normalize((features if self.projection is None else self.projection(features)).float(), dim=1)

    def forward(self, images: torch.Tensor, domain: torch.Tensor) -> torch.Tensor:
        """As `embed`."""
        return self.embed(images, domain)


def embedding_network(student: Student, preprocessing: Preprocessing, pooled: bool = False) -> EmbeddingNetwork:
    """The part of a student that retrieval uses; with `pooled`, without the embedding layer."""
    trunk = student.original_model
    return EmbeddingNetwork(trunk, preprocessing, None if pooled else trunk.second_last_linear)


def trained_preprocessing(student: Student, recorded_size: int | None, image_size: int | None = None) -> Preprocessing:
    """The preprocessing for a restored student: at `image_size` pixels, else the recorded size, else the trunk's own.

    Raises InputError if the trunk takes its own size only, or cannot take this one.
    """
    trunk = student.original_model
    own = trunk.preprocessing
    if trunk.takes_any_size:
        size = image_size or recorded_size or own.image_size
        preprocessing_for(trunk.arch, size)  # raises
        return replace(own, image_size=size)
    if image_size not in (None, own.image_size):
        raise InputError(f"--image_size {image_size}: the network was trained at {own.image_size} px and takes no other size")
    return own
