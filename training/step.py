"""One training step: batch → views → student and teacher → four losses → weight update."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch.profiler import record_function

from datasets.batches import Batch
from datasets.views import ThreeViews
from losses.classification import classification_loss, distance_margin_loss, margin_at
from losses.contrastive import contrastive_loss
from losses.distillation import distillation_loss
from losses.memory_bank import MemoryBank
from losses.objective import Losses, Weights
from models.cse_resnet import PHOTO, SKETCH
from models.dsn import DistanceClassifier, Student, StudentOutput, Teacher
from training.config import TrainedObjective
from training.finite_checks import NonFiniteGuard
from utils.devices import autocast
from utils.distributed import Distributed


class LossInputs(NamedTuple):
    """Outputs for the whole batch of B images, P of them photos; None for a loss that is switched off."""

    class_logits: torch.Tensor  # (B, classes)
    teacher_space_logits: torch.Tensor | None  # (P, teacher classes)
    teacher_logits: torch.Tensor | None  # (P, teacher classes)
    contrasted: torch.Tensor | None  # (B, 2, d), the contrast views
    pooled: torch.Tensor | None  # (B, 2048)


@dataclass
class TrainingStep:
    """Networks, losses and optimizer: `step(batch, epoch, number)` computes the losses and updates the student.

    A batch holds `sketches` sketches, then photos. `semantic_mask` is (seen classes, teacher classes). Without a teacher there
    is no distillation loss. `forward` replaces the student's forward pass, e.g. by a compiled one. With several processes,
    each embeds its shard of the batch, and all compute the same losses over the whole batch.
    """

    student: Student
    teacher: Teacher | None
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
            self.guard.watch(values, number, self.optimizer)
            self.optimizer.step()
        return values

    def losses(self, batch: Batch, epoch: int, number: int) -> Losses:
        """The unweighted losses over the whole batch; updates the memory bank.

        `batch` holds the labels (B,) of the whole batch, and the images of this process's shard.
        """
        photos = len(batch.labels) - self.sketches
        sketches = self.distributed.shard_sizes(self.sketches)[self.distributed.rank]  # of this process
        most_frequent = int(torch.bincount(batch.labels[: self.sketches]).max())  # before the labels leave the host
        with record_function("views"):
            images = batch.images.to(self.device, non_blocking=True)
            labels = batch.labels.to(self.device, non_blocking=True)
            domain = torch.full((len(images),), PHOTO, device=self.device)
            domain[:sketches] = SKETCH
            rows = self.distributed.own_positions(self.sketches, photos)
            contrast = self.weights.contrastive > 0
            views = self.views(images, epoch, number, contrast=contrast, count=len(labels), rows=rows)
        with autocast(self.device, self.amp):
            with record_function("student forward"):
                forward = self.student if self.forward is None else self.forward
                output = forward(torch.cat(views), domain.repeat(len(views)))
            with record_function("teacher forward"):
                teacher_logits = None if self.teacher is None else self.teacher(views[0][sketches:], domain[sketches:])
        with record_function("losses"):
            inputs = self._gather(output, teacher_logits, len(images), sketches, photos)
            classification = self._classification(inputs.class_logits, labels, epoch)
            distillation = self._distillation(inputs, labels[self.sketches :])
            contrastive = self._contrastive(inputs.contrasted, labels)
        with record_function("memory"):
            memory = self._memory(inputs.pooled, labels, most_frequent)
        return Losses(classification, distillation, contrastive, memory)

    def _gather(
        self, output: StudentOutput, teacher_logits: torch.Tensor | None, images: int, sketches: int, photos: int
    ) -> LossInputs:
        """Gather what the losses read from all processes, in the order of the batch.

        This process has `images` images, `sketches` of them sketches; the whole batch has `photos` photos.
        """
        whole, photo = self.distributed.batch_gatherer(self.sketches, photos), self.distributed.batch_gatherer(photos)
        is_contrasted = self.weights.contrastive > 0
        return LossInputs(
            class_logits=whole(output.class_logits[:images]),
            teacher_space_logits=None if teacher_logits is None else photo(output.teacher_space_logits[sketches:images]),
            teacher_logits=None if teacher_logits is None else photo(teacher_logits),
            contrasted=whole(output.contrasted[images:].unflatten(0, (2, images)).transpose(0, 1)) if is_contrasted else None,
            pooled=whole(output.pooled[:images]) if self.weights.memory > 0 else None,
        )

    def _classification(self, logits: torch.Tensor, labels: torch.Tensor, epoch: int) -> torch.Tensor:
        if isinstance(self.student.linear, DistanceClassifier):
            return distance_margin_loss(logits, labels, margin_at(epoch))
        return classification_loss(logits, labels)

    def _distillation(self, inputs: LossInputs, photo_labels: torch.Tensor) -> torch.Tensor:
        if inputs.teacher_space_logits is None or inputs.teacher_logits is None:
            return photo_labels.new_zeros((), dtype=torch.float32)
        mask, factors = self.semantic_mask[photo_labels], (self.objective.kd_lambda, self.objective.kdneg_lambda)
        return distillation_loss(inputs.teacher_space_logits, inputs.teacher_logits, mask, *factors)

    def _contrastive(self, contrasted: torch.Tensor | None, labels: torch.Tensor) -> torch.Tensor:
        if contrasted is None:
            return labels.new_zeros((), dtype=torch.float32)
        return contrastive_loss(F.normalize(contrasted.float(), dim=2), labels, self.objective.temperature)

    def _memory(self, pooled: torch.Tensor | None, labels: torch.Tensor, most_frequent: int) -> torch.Tensor:
        if pooled is None:
            return labels.new_zeros((), dtype=torch.float32)
        photos, photo_labels = pooled[self.sketches :], labels[self.sketches :]
        self.bank.update(pooled[: self.sketches], labels[: self.sketches], photos, photo_labels, rounds=most_frequent)
        return self.bank.loss(photos, photo_labels, detach_photos=self.objective.memory_grad == "off")
