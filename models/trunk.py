"""What every trunk offers: images and their domains → one pooled feature each."""

import torch
from torch import nn

from datasets.preprocessing import Preprocessing


class Trunk(nn.Module):
    """The part of the student below its heads.

    arch: the value of `--arch` that names it. feature_dim: length D of its feature. preprocessing: its normalisation, and the
    image size it was made for. takes_any_size: whether images of other sizes, from 32 px, can follow. licence: that of its
    initial weights, where timm states one.
    """

    arch: str
    feature_dim: int
    preprocessing: Preprocessing
    takes_any_size: bool
    has_domain_tag: bool
    licence: str | None = None
    # the heads that `Student` adds: keys of published checkpoints name them as parts of the trunk
    second_last_linear: nn.Linear
    last_linear: nn.Linear

    def features(self, images: torch.Tensor, domain: torch.Tensor) -> torch.Tensor:
        """images (B, 3, H, W) normalised, domain (B,) of SKETCH or PHOTO → (B, D)."""
        raise NotImplementedError

    def train_domain_tag(self) -> None:
        """Make trainable what makes the feature depend on the domain, if there is a domain tag, and nothing else."""
        raise NotImplementedError

    def checkpoint_activations(self) -> None:
        """Compute activations again in the backward pass to save memory. Raises NotImplementedError if that is not possible."""
        raise NotImplementedError
