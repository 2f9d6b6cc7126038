"""One training step: a batch of images → the four named losses → a step downhill."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F

from datasets.batches import Batch
from datasets.views import ThreeViews
from losses.classification import classification_loss, distance_margin_loss, margin_at
from losses.contrastive import contrastive_loss
from losses.distillation import distillation_loss
from losses.memory_bank import MemoryBank
from losses.objective import Terms, Weights
from models.cse_resnet import PHOTO, SKETCH
from models.dsn import Student, StudentOutput, Teacher
from training.finite_checks import NonFiniteGuard
from utils.devices import autocast
from utils.distributed import Distributed
from utils.phases import Phases


class Whole(NamedTuple):
    """What the losses of one step read, over the whole batch of B images with P photos; None for a loss that is off."""

    class_logits: torch.Tensor  # (B, classes)
    teacher_space_logits: torch.Tensor | None  # (P, teacher classes)
    teacher_logits: torch.Tensor | None  # (P, teacher classes)
    contrasted: torch.Tensor | None  # (B, 2, d), the contrast views
    pooled: torch.Tensor | None  # (B, 2048)


@dataclass
class Learner:
    """What learns and what it learns from; `semantic_mask` is (seen classes, teacher classes), and no teacher means no KD.

    `forward` is the student's forward pass if it is another than its own, say a compiled one. In a `team` each process embeds
    its share of a batch, and all evaluate the same losses on the whole of it.
    """

    student: Student
    teacher: Teacher | None
    semantic_mask: torch.Tensor | None
    bank: MemoryBank
    views: ThreeViews
    weights: Weights
    options: argparse.Namespace
    device: torch.device
    forward: Callable | None = None
    distributed: Distributed = field(default_factory=Distributed)
    phase: Phases = field(default_factory=Phases)
    fault: NonFiniteGuard = field(init=False)

    def __post_init__(self):
        self.fault = NonFiniteGuard(self.device)

    def terms(self, batch: Batch, sketches: int, epoch: int, step: int) -> Terms:
        """The step's losses over the whole batch, whose first `sketches` images are sketches, the others photos.

        `batch` holds the labels of the whole, and the images of this process's share.
        """
        most_frequent = int(torch.bincount(batch.labels[:sketches]).max())  # on the host: the labels came from there
        count = len(batch.labels)
        own = self.distributed.own_positions(sketches, count - sketches)
        own_sketches = self.distributed.shard_sizes(sketches)[self.distributed.rank]
        contrast = self.weights.contrastive > 0
        with self.phase("views"):
            images = batch.images.to(self.device, non_blocking=True)
            labels = batch.labels.to(self.device, non_blocking=True)
            tags = torch.full((len(images),), PHOTO, device=self.device)
            tags[:own_sketches] = SKETCH
            views = self.views(images, epoch, step, contrast=contrast, count=count, rows=own)
        with autocast(self.device, self.options.amp):
            with self.phase("student forward"):
                forward = self.student if self.forward is None else self.forward
                output = forward(torch.cat(views), tags.repeat(len(views)))
            with self.phase("teacher forward"):
                teacher_logits = self.teacher(views[0][own_sketches:], tags[own_sketches:]) if self.teacher is not None else None
        with self.phase("losses"):
            whole = self._whole(output, teacher_logits, len(images), sketches, count - sketches)
            classification = self._classification(whole.class_logits, labels, epoch)
            distillation = self._distillation(whole, labels[sketches:])
            contrastive = self._contrastive(whole.contrasted, labels)
        with self.phase("memory"):
            memory = self._memory(whole.pooled, labels, sketches, most_frequent)
        return Terms(classification, distillation, contrastive, memory)

    def _whole(
        self, output: StudentOutput, teacher_logits: torch.Tensor | None, images: int, sketches: int, photos: int
    ) -> Whole:
        """What the losses read of this process's `images`, gathered from the team into the batch's order."""
        every, photo = self.distributed.batch_gatherer(sketches, photos), self.distributed.batch_gatherer(photos)
        own_sketches = images - (0 if teacher_logits is None else len(teacher_logits))
        is_contrasted = self.weights.contrastive > 0
        return Whole(
            class_logits=every(output.class_logits[:images]),
            teacher_space_logits=None if teacher_logits is None else photo(output.teacher_space_logits[own_sketches:images]),
            teacher_logits=None if teacher_logits is None else photo(teacher_logits),
            contrasted=every(output.contrasted[images:].unflatten(0, (2, images)).transpose(0, 1)) if is_contrasted else None,
            pooled=every(output.pooled[:images]) if self.weights.memory > 0 else None,
        )

    def _classification(self, logits: torch.Tensor, labels: torch.Tensor, epoch: int) -> torch.Tensor:
        if self.options.ems_loss:
            return distance_margin_loss(logits, labels, margin_at(epoch))
        return classification_loss(logits, labels)

    def _distillation(self, whole: Whole, photo_labels: torch.Tensor) -> torch.Tensor:
        if whole.teacher_logits is None:
            return photo_labels.new_zeros((), dtype=torch.float32)
        mask = self.semantic_mask[photo_labels]
        options = self.options
        return distillation_loss(whole.teacher_space_logits, whole.teacher_logits, mask, options.kd_lambda, options.kdneg_lambda)

    def _contrastive(self, contrasted: torch.Tensor | None, labels: torch.Tensor) -> torch.Tensor:
        if contrasted is None:
            return labels.new_zeros((), dtype=torch.float32)
        return contrastive_loss(F.normalize(contrasted.float(), dim=2), labels, self.options.temperature)

    def _memory(self, pooled: torch.Tensor | None, labels: torch.Tensor, sketches: int, most_frequent: int) -> torch.Tensor:
        if pooled is None:
            return labels.new_zeros((), dtype=torch.float32)
        photos, photo_labels = pooled[sketches:], labels[sketches:]
        self.bank.update(pooled[:sketches], labels[:sketches], photos, photo_labels, rounds=most_frequent)
        return self.bank.loss(photos, photo_labels, detach_photos=self.options.memory_grad == "off")


def take_step(
    learner: Learner, optimizer: torch.optim.Optimizer, batch: Batch, sketches: int, epoch: int, step: int
) -> torch.Tensor:
    """One step downhill; (5,) the four losses and their weighted total before it, left on the device."""
    terms = learner.terms(batch, sketches, epoch, step)
    total = learner.weights.total(terms)
    losses = torch.stack([*terms, total]).detach()
    with learner.phase("backward"):
        optimizer.zero_grad(set_to_none=True)
        total.backward()
    with learner.phase("optimizer"):
        learner.fault.watch(losses, step, optimizer)
        optimizer.step()
    return losses
