"""A training step of small networks, and a batch for it."""

import torch

from datasets.batches import Batch
from datasets.views import ThreeViews
from losses.memory_bank import MemoryBank
from losses.objective import Weights
from models.dsn import Student, Teacher
from training.build import adam
from training.config import TrainedObjective
from training.step import TrainingStep


def training_step(device: str = "cpu", **objective: object) -> TrainingStep:
    """Three seen classes, ten teacher classes, two sketches in a batch; `objective` are fields of TrainedObjective."""
    torch.manual_seed(0)
    options = TrainedObjective(**objective)
    student = Student(8, 3, teacher_classes=10, projection_dim=16 if options.contrastive_on == "projection" else None)
    mask = torch.rand(3, 10, generator=torch.Generator().manual_seed(1))
    student, teacher, mask, bank = (part.to(device) for part in (student, Teacher(10), mask, MemoryBank(3, 2, 2048)))
    optimizer = adam(student, lr=1e-4, weight_decay=0.0)
    views = ThreeViews(32, 0)
    return TrainingStep(student, teacher, mask, bank, views, Weights(), options, optimizer, 2, torch.device(device))


def batch() -> Batch:
    """Two sketches and four photos of three classes."""
    generator = torch.Generator().manual_seed(2)
    return Batch(torch.randint(0, 256, (6, 3, 37, 37), generator=generator, dtype=torch.uint8), torch.tensor([0, 1, 0, 1, 2, 0]))
