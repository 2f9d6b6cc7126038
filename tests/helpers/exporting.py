"""Checkpoints of small students, for what is exported from them."""

from pathlib import Path

import torch

from models.dsn import Student
from models.names import CSE_RESNET50
from models.trunks import load_timm, preprocessing_for, record_of, timm_trunk
from utils.checkpoints import write_checkpoint

WIDTH = 8


def write_student(path: Path, arch: str, side: int = 64, domain_tag: bool = True, **options: object) -> Path:
    """As a training run on 3 classes at `side` px leaves it: weights are random, also those of the domain tag."""
    torch.manual_seed(0)
    trunk, preprocessing = None, preprocessing_for(arch, side).whole_image()
    if arch != CSE_RESNET50:
        trunk = timm_trunk(arch, load_timm(arch, "none", preprocessing), preprocessing, domain_tag)
        trunk.licence = "apache-2.0"
        if trunk.domain_tag is not None:
            for numbers in trunk.domain_tag.parameters():
                torch.nn.init.normal_(numbers, std=0.3)
    student = Student(WIDTH, 3, teacher_classes=5, trunk=trunk)
    recorded = {"image_size": side, "zero_version": "zeroshot1", **options}
    extra = record_of(student.original_model, preprocessing)
    write_checkpoint(path, epoch=2, arch=arch, state=student.state_dict(), best=0, optimizer=None, options=recorded, **extra)
    return path
