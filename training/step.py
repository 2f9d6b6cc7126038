"""One training step: batch → views → student and teacher → four losses → weight update."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn
from torch.profiler import record_function

from datasets.batches import Batch
from datasets.views import ThreeViews
from losses.classification import classification_loss, distance_margin_loss, margin_at
from losses.contrastive import contrastive_loss
from losses.distillation import distillation_loss
from losses.memory_bank import MemoryBank
from losses.objective import Losses, Weights
from models.dsn import DistanceClassifier, Student, StudentOutput
from models.names import PHOTO, SKETCH
from training.config import TrainedObjective
from training.finite_checks import NonFiniteGuard
from utils.devices import autocast
from utils.distributed import Distributed


@dataclass
class TrainingStep:
    """Networks, losses and optimizer: `step(batch, epoch, number)` computes the losses and updates the student.

    A batch holds `sketches` sketches, then photos. `semantic_mask` is (seen classes, teacher classes). Without a teacher there
    is no distillation loss. `forward` replaces the student's forward pass, e.g. by a compiled one. With several processes,
    each embeds its shard of the batch, and all compute the same losses over the whole batch.
    """

    student: Student
    teacher: nn.Module | None
    semantic_mask: torch.Tensor
    bank: MemoryBank
    views: ThreeViews
    weights: Weights
    objective: TrainedObjective
    optimizer: torch.optim.Optimizer
    sketches: int
    device: torch.device
    amp: str = "off"  # see utils.devices.autocast
    forward: Callable[..., StudentOutput] | None = None
    distributed: Distributed = field(default_factory=Distributed)
    guard: NonFiniteGuard = field(init=False)

    def __post_init__(self) -> None:
        self.guard = NonFiniteGuard(self.device)

    def __call__(self, batch: Batch, epoch: int, number: int) -> torch.Tensor:
        """Take step `number` of the epoch; (5,) the four losses and their weighted sum, left on the device."""
        losses = self.losses(batch, epoch, number)
        total = self.weights.total(losses)
        values = torch.stack([*losses, total]).detach()
        with record_function("backward"):
            self.optimizer.zero_grad(set_to_none=True)
            total.backward()
        with record_function("optimizer"):
            self.guard.block_update_if_not_finite(values, number, self.optimizer)
            self.optimizer.step()
        return values

    def losses(self, batch: Batch, epoch: int, number: int) -> Losses:
        """The unweighted losses over the whole batch of B images; updates the memory bank.

        `batch` holds the labels (B,) of the whole batch, and the images of this process's shard.
        """
        sketches, photos = self.sketches, len(batch.labels) - self.sketches
        own_sketches = len(self.distributed.own_positions(sketches))
        most_frequent = int(torch.bincount(batch.labels[:sketches]).max())  # computed before the labels move to the device
        with record_function("views"):
            labels = batch.labels.to(self.device, non_blocking=True)
            images = batch.images.to(self.device, non_blocking=True)
            own_images = len(images)
            domain = torch.full((own_images,), PHOTO, device=self.device)
            domain[:own_sketches] = SKETCH
            rows = self.distributed.own_positions(sketches, photos)
            contrast = self.weights.contrastive > 0
            views = self.views(images, epoch, number, contrast=contrast, count=len(labels), rows=rows)
        with autocast(self.device, self.amp):
            with record_function("student forward"):
                forward = self.student if self.forward is None else self.forward
                output = forward(torch.cat(views), domain.repeat(len(views)))
            with record_function("teacher forward"):
                teacher_logits = None if self.teacher is None else self.teacher(views[0][own_sketches:], domain[own_sketches:])

        def gather(rows: torch.Tensor) -> torch.Tensor:
            return self.distributed.gather(rows, sketches, photos)

        distillation = contrastive = memory = torch.zeros((), device=self.device)
        with record_function("losses"):
            classification = self._classification(gather(output.class_logits[:own_images]), labels, epoch)
            if teacher_logits is not None:
                student_logits = self.distributed.gather(output.teacher_space_logits[own_sketches:own_images], photos)
                teacher_logits = self.distributed.gather(teacher_logits, photos)
                distillation = self._distillation(student_logits, teacher_logits, labels[sketches:])
            if self.weights.contrastive > 0:
                contrasted = output.contrasted[own_images:].unflatten(0, (2, own_images)).transpose(0, 1)  # (own_images, 2, d)
                contrasted = F.normalize(gather(contrasted).float(), dim=2)
                contrastive = contrastive_loss(contrasted, labels, self.objective.temperature)
        with record_function("memory"):
            if self.weights.memory > 0:
                memory = self._memory(gather(output.pooled[:own_images]), labels, most_frequent)
        return Losses(classification, distillation, contrastive, memory)

    def _classification(self, logits: torch.Tensor, labels: torch.Tensor, epoch: int) -> torch.Tensor:
        if isinstance(self.student.linear, DistanceClassifier):
            return distance_margin_loss(logits, labels, margin_at(epoch))
        return classification_loss(logits, labels)

    def _distillation(self, student_logits: torch.Tensor, teacher_logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        factors = self.objective.kd_lambda, self.objective.kdneg_lambda
        return distillation_loss(student_logits, teacher_logits, self.semantic_mask[labels], *factors)

    def _memory(self, pooled: torch.Tensor, labels: torch.Tensor, most_frequent: int) -> torch.Tensor:
        photos, photo_labels = pooled[self.sketches :], labels[self.sketches :]
        self.bank.update(pooled[: self.sketches], labels[: self.sketches], photos, photo_labels, rounds=most_frequent)
        return self.bank.loss(photos, photo_labels, detach_photos=self.objective.memory_grad == "off")
