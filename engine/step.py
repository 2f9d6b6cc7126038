"""One training step: a batch of images → the four named losses → a step downhill."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from datasets.image_files import Batch
from datasets.views import ThreeViews
from losses.classification import classification_loss, distance_margin_loss, margin_at
from losses.contrastive import contrastive_loss, unit_views
from losses.distillation import distillation_loss
from losses.memory import MemoryBank
from losses.objective import Terms, Weights
from models.cse_resnet import PHOTO, SKETCH
from models.dsn import Student, StudentOutput, Teacher
from utils.devices import autocast
from utils.phases import Phases


@dataclass
class Learner:
    """What learns and what it learns from; `semantic_mask` is (seen classes, teacher classes), and no teacher means no KD.

    `forward` is the student's forward pass if it is another than its own, say a compiled one.
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
    phase: Phases = field(default_factory=Phases)

    def terms(self, batch: Batch, sketches: int, epoch: int, step: int) -> Terms:
        """The step's losses; the first `sketches` images of the batch are sketches, the others photos."""
        most_frequent = int(torch.bincount(batch.labels[:sketches]).max())  # on the host: the labels came from there
        with self.phase("views"):
            images = batch.images.to(self.device, non_blocking=True)
            labels = batch.labels.to(self.device, non_blocking=True)
            tags = torch.full((len(images),), PHOTO, device=self.device)
            tags[:sketches] = SKETCH
            views = self.views(images, epoch, step, contrast=self.weights.contrastive > 0)
        with autocast(self.device, self.options.amp):
            with self.phase("student forward"):
                forward = self.student if self.forward is None else self.forward
                output = forward(torch.cat(views), tags.repeat(len(views)))
            with self.phase("teacher forward"):
                teacher_logits = self.teacher(views[0][sketches:], tags[sketches:]) if self.teacher is not None else None
        with self.phase("losses"):
            classification = self._classification(output, labels, epoch)
            distillation = self._distillation(output, teacher_logits, labels, sketches)
            contrastive = self._contrastive(output, labels)
        with self.phase("memory"):
            memory = self._memory(output, labels, sketches, most_frequent)
        return Terms(classification, distillation, contrastive, memory)

    def _classification(self, output: StudentOutput, labels: torch.Tensor, epoch: int) -> torch.Tensor:
        logits = output.class_logits[: len(labels)]
        if self.options.ems_loss:
            return distance_margin_loss(logits, labels, margin_at(epoch))
        return classification_loss(logits, labels)

    def _distillation(self, output: StudentOutput, teacher_logits, labels: torch.Tensor, sketches: int) -> torch.Tensor:
        if teacher_logits is None:
            return labels.new_zeros((), dtype=torch.float32)
        return distillation_loss(
            output.teacher_space_logits[sketches : len(labels)],
            teacher_logits,
            self.semantic_mask[labels[sketches:]],
            self.options.kd_lambda,
            self.options.kdneg_lambda,
        )

    def _contrastive(self, output: StudentOutput, labels: torch.Tensor) -> torch.Tensor:
        if self.weights.contrastive == 0:
            return labels.new_zeros((), dtype=torch.float32)
        features = output.embedding
        if self.student.contrastive_head is not None:
            features = self.student.contrastive_head(output.pooled.float())
        _, first, second = features.split(len(labels))
        return contrastive_loss(unit_views(first, second), labels, self.options.temperature)

    def _memory(self, output: StudentOutput, labels: torch.Tensor, sketches: int, most_frequent: int) -> torch.Tensor:
        if self.weights.memory == 0:
            return labels.new_zeros((), dtype=torch.float32)
        sketch_features, photo_features = output.pooled[:sketches], output.pooled[sketches : len(labels)]
        photo_labels = labels[sketches:]
        self.bank.update(sketch_features, labels[:sketches], photo_features, photo_labels, rounds=most_frequent)
        return self.bank.loss(photo_features, photo_labels, detach_photos=self.options.memory_grad == "off")


def take_step(
    learner: Learner, optimizer: torch.optim.Optimizer, batch: Batch, sketches: int, epoch: int, step: int
) -> torch.Tensor:
    """One step downhill; (5,) the four losses and their weighted total before it, left on the device."""
    terms = learner.terms(batch, sketches, epoch, step)
    total = learner.weights.total(terms)
    with learner.phase("backward"):
        optimizer.zero_grad(set_to_none=True)
        total.backward()
    with learner.phase("optimizer"):
        optimizer.step()
    return torch.stack([*terms, total]).detach()
