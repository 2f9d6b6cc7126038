"""A small learner and a batch for it."""

import argparse

import torch

from datasets.batches import Batch
from datasets.views import ThreeViews
from losses.memory_bank import MemoryBank
from losses.objective import Weights
from models.dsn import Student, Teacher
from training.step import Learner


def learner(device: str = "cpu", **changes) -> Learner:
    torch.manual_seed(0)
    options = argparse.Namespace(
        amp="off", ems_loss=False, kd_lambda=1.0, kdneg_lambda=0.3, temperature=0.07, memory_grad="on", contrastive_on="embedding"
    )
    vars(options).update(changes)
    projection = 16 if options.contrastive_on == "projection" else None
    student = Student(8, 3, teacher_classes=10, projection_dim=projection)
    mask = torch.rand(3, 10, generator=torch.Generator().manual_seed(1))
    moved = (part.to(device) for part in (student, Teacher(10), mask, MemoryBank(3, 2, 2048)))
    return Learner(*moved, ThreeViews(32, 0), Weights(), options, torch.device(device))


def batch() -> Batch:
    generator = torch.Generator().manual_seed(2)
    return Batch(torch.randint(0, 256, (6, 3, 37, 37), generator=generator, dtype=torch.uint8), torch.tensor([0, 1, 0, 1, 2, 0]))
