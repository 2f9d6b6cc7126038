"""The plain way to do what this project does, as a reference to measure against: image by image, sample by sample.

Each image is decoded, warped and turned into its three views by PIL and torchvision in the worker process, as float32; losses
and memory bank go through the batch one sample at a time and ask the device for numbers as they need them; the step is eager
float32 in PyTorch's default memory layout, the teacher sees every base view, Adam is PyTorch's default one.
"""

import random

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import Dataset
from torchvision import transforms as T

from datasets.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from losses.objective import Losses
from models.names import PHOTO, SKETCH
from training.step import TrainingStep


class PlainImages(Dataset):
    """(three views (3, 3, side, side) float32, label) of one image file after the other."""

    def __init__(self, paths: list[str], labels: np.ndarray, image_size: int):
        self.paths, self.labels = paths, labels
        as_numbers = [T.ToTensor(), T.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
        self.base = T.Compose([T.Resize((image_size, image_size)), *as_numbers])
        self.contrast = T.Compose(
            [
                T.Resize((image_size, image_size)),
                T.RandomHorizontalFlip(),
                T.RandomApply([T.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
                T.RandomGrayscale(p=0.2),
                *as_numbers,
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.paths[index]) as file:
            image = warped(file.convert("RGB"))
        return torch.stack([self.base(image), self.contrast(image), self.contrast(image)]), int(self.labels[index])


def warped(image: Image.Image) -> Image.Image:
    """One random flip, scale, rotation and shift about the top-left corner, with probability 0.7."""
    if random.random() >= 0.7:
        return image
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    scale = [random.uniform(0.7, 1.3), random.uniform(0.7, 1.3)] if random.random() < 0.5 else [1.0, 1.0]
    angle = torch.tensor(random.uniform(-30, 30) if random.random() < 0.5 else 0.0).deg2rad()
    shift = [random.uniform(-10, 10), random.uniform(-10, 10)] if random.random() < 0.5 else [0.0, 0.0]
    forward = torch.tensor(
        [
            [scale[0] * angle.cos(), -scale[1] * angle.sin(), shift[0]],
            [scale[0] * angle.sin(), scale[1] * angle.cos(), shift[1]],
            [0, 0, 1],
        ]
    )
    inverse = torch.linalg.inv(forward)[:2].flatten().tolist()
    return image.transform(image.size, Image.Transform.AFFINE, inverse, Image.Resampling.BILINEAR)


class PlainBank:
    """The memory bank as lists of features."""

    def __init__(self, slots: int):
        self.slots = slots
        self.stored: dict[int, list[torch.Tensor]] = {}

    def update(
        self, sketches: torch.Tensor, sketch_labels: torch.Tensor, photos: torch.Tensor, photo_labels: torch.Tensor
    ) -> None:
        for sketch, label in zip(sketches.detach(), sketch_labels, strict=True):
            own = self.stored.setdefault(label.item(), [])
            if len(own) < self.slots:
                own.append(sketch)
                continue
            same = [photo for photo, other in zip(photos.detach(), photo_labels, strict=True) if other.item() == label.item()]
            if not same:
                continue
            prototype = torch.stack(same).mean(0)
            likeness = [F.cosine_similarity(slot, prototype, dim=0).item() for slot in own]
            if F.cosine_similarity(sketch, prototype, dim=0).item() > min(likeness):
                own[likeness.index(min(likeness))] = sketch

    def loss(self, photos: torch.Tensor, photo_labels: torch.Tensor) -> torch.Tensor:
        likeness = [
            F.cosine_similarity(photo, torch.stack(self.stored[label.item()]).mean(0), dim=0)
            for photo, label in zip(photos, photo_labels, strict=True)
            if label.item() in self.stored
        ]
        return 1 - torch.stack(likeness).mean() if likeness else photos.sum() * 0


def contrastive(features: torch.Tensor, labels: torch.Tensor, temperature: float) -> torch.Tensor:
    """features (2B, d) of unit length, labels (2B,): one anchor after the other."""
    total = 0.0
    for anchor in range(len(features)):
        similarity = features @ features[anchor] / temperature
        others = torch.arange(len(features), device=features.device) != anchor
        positive = others & (labels == labels[anchor])
        total = total - (similarity[positive] - similarity[others].logsumexp(0)).mean()
    return total / len(features)


def distillation(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(photos, classes) each: one photo after the other."""
    total = 0.0
    for row in range(len(student)):
        target = torch.softmax(teacher[row] + 0.3 * mask[row], dim=0)
        total = total - (target * F.log_softmax(student[row], dim=0)).sum()
    return total / len(student)


def plain_step(step: TrainingStep, bank: PlainBank, views: torch.Tensor, labels: torch.Tensor) -> Losses:
    """One step of the networks and the optimizer of `step`; views (B, 3, 3, side, side) float32 and labels (B,) on the host."""
    assert step.teacher is not None
    sketches, mask = step.sketches, step.semantic_mask
    views, labels = views.to(step.device), labels.to(step.device)
    domain = torch.tensor([SKETCH] * sketches + [PHOTO] * (len(labels) - sketches), device=step.device)
    output = step.student(torch.cat([views[:, 0], views[:, 1], views[:, 2]]), domain.repeat(3))
    teacher_logits = step.teacher(views[:, 0], domain)
    count = len(labels)
    photo_labels, pooled = labels[sketches:], output.pooled[:count]
    bank.update(pooled[:sketches], labels[:sketches], pooled[sketches:], photo_labels)
    losses = Losses(
        F.cross_entropy(output.class_logits[:count], labels),
        distillation(output.teacher_space_logits[sketches:count], teacher_logits[sketches:], mask[photo_labels]),
        contrastive(F.normalize(output.embedding[count:], dim=1), labels.repeat(2), 0.07),
        bank.loss(pooled[sketches:], photo_labels),
    )
    total = losses.classification + losses.distillation + 0.1 * losses.contrastive + losses.memory
    step.optimizer.zero_grad()
    total.backward()
    step.optimizer.step()
    return Losses(*(loss.item() for loss in losses))
