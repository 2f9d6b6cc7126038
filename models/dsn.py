"""The student, whose embeddings are retrieved, and the frozen teacher, which keeps the student from forgetting ImageNet.

DSN: Wang et al., "Domain-Smoothing Network for Zero-Shot Sketch-Based Image Retrieval" (IJCAI 2021). The attribute names are
the keys of published checkpoints and must not change.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import nn

from models.cse_resnet import FEATURE_DIM, CSEResNet50
from models.trunk import Trunk

TRUNK_HEADS = ("second_last_linear", "last_linear")  # heads that are attributes of the trunk


class StudentOutput(NamedTuple):
    """Outputs for B images."""

    class_logits: torch.Tensor  # (B, seen classes)
    teacher_space_logits: torch.Tensor  # (B, teacher classes)
    embedding: torch.Tensor  # (B, d), not normalised
    pooled: torch.Tensor  # (B, D), the trunk's feature; D = 2048 for cse_resnet50
    contrasted: torch.Tensor  # (B, d) or (B, projection_dim): input of the contrastive loss, not normalised


class DistanceClassifier(nn.Module):
    """Class logit = −‖embedding − learned centre of the class‖ (`--ems-loss`)."""

    def __init__(self, embedding_dim: int, num_classes: int):
        super().__init__()
        self.cpars = nn.Parameter(torch.randn(num_classes, embedding_dim))

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        """(B, d) → (B, classes), all ≤ 0."""
        difference = embedding[:, None, :].float() - self.cpars
        return -torch.linalg.vector_norm(difference, dim=2)


class Student(nn.Module):
    """A trunk with an embedding layer, a teacher-space head for the distillation loss, and a head for the seen classes.

    embedding_dim: length d of the embedding. num_classes: number of seen classes. teacher_classes: width of the teacher's
    classifier. distance_head: use `DistanceClassifier`. projection_dim: width of an additional fully-connected head in front of
    the contrastive loss, which the paper describes and the released network lacks; None: no such head. trunk: None for a new
    CSE-ResNet-50.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        teacher_classes: int = 1000,
        distance_head: bool = False,
        projection_dim: int | None = None,
        trunk: Trunk | None = None,
    ):
        super().__init__()
        self.original_model = trunk or CSEResNet50()
        feature_dim = self.original_model.feature_dim
        self.original_model.second_last_linear = nn.Linear(feature_dim, embedding_dim)
        self.original_model.last_linear = nn.Linear(embedding_dim, teacher_classes)
        head = DistanceClassifier if distance_head else nn.Linear
        self.linear = head(embedding_dim, num_classes)
        self.contrastive_head = nn.Linear(feature_dim, projection_dim) if projection_dim else None

    def forward(self, images: torch.Tensor, domain: torch.Tensor) -> StudentOutput:
        """images (B, 3, H, W) normalised; domain (B,) of SKETCH or PHOTO."""
        pooled = self.original_model.features(images, domain)
        embedding = self.original_model.second_last_linear(pooled)
        contrasted = embedding
        if self.contrastive_head is not None:
            with torch.autocast(pooled.device.type, enabled=False):
                contrasted = self.contrastive_head(pooled.float())
        return StudentOutput(self.linear(embedding), self.original_model.last_linear(embedding), embedding, pooled, contrasted)

    def trunk_parts(self) -> Iterator[nn.Module]:
        """The trunk's modules without the heads."""
        return (part for name, part in self.original_model.named_children() if name not in TRUNK_HEADS)

    def train(self, mode: bool = True) -> "Student":
        """Like nn.Module.train, but a frozen trunk stays in eval mode, so that its BatchNorm statistics stay as they are."""
        super().train(mode)
        if not any(parameter.requires_grad for part in self.trunk_parts() for parameter in part.parameters()):
            for part in self.trunk_parts():
                part.eval()
        return self


class Teacher(CSEResNet50):
    """The same trunk with the full ImageNet classifier; frozen and always in eval mode."""

    def __init__(self, teacher_classes: int = 1000) -> None:
        super().__init__()
        self.last_linear = nn.Linear(FEATURE_DIM, teacher_classes)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "Teacher":
        return super().train(False)

    def forward(self, images: torch.Tensor, domain: torch.Tensor) -> torch.Tensor:
        """images (B, 3, H, W) normalised, domain (B,) → logits (B, teacher classes) without a gradient."""
        with torch.inference_mode():
            logits = self.last_linear(self.features(images, domain))
        return logits.clone()  # autograd may save these for a loss's backward pass, but not tensors created in inference mode
