"""The frozen classifier of ImageNet's classes that the distillation loss learns from (`--teacher`)."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from datasets.preprocessing import Preprocessing
from models.dsn import Teacher
from models.names import DOWNLOAD, TIMM, is_timm
from models.pretrained import imagenet_state
from models.timm_models import has_fixed_size, preprocessing_of, require_model
from models.timm_weights import load_network
from utils.checkpoints import read_tensors
from utils.errors import InputError

OPTION = "--teacher"


class TimmTeacher(nn.Module):
    """A timm classifier, frozen and always in eval mode, that receives the student's images.

    Where its own normalisation or its fixed image size differs, the images are converted. given: how the student's images are
    prepared; expected: how the teacher's are.
    """

    def __init__(self, network: nn.Module, classifier: nn.Linear, given: Preprocessing, expected: Preprocessing) -> None:
        super().__init__()
        self.network, self.last_linear, self.size = network, classifier, expected.image_size
        mean, std, own_mean, own_std = (torch.tensor(v) for v in (given.mean, given.std, expected.mean, expected.std))
        self.is_converted = (given.mean, given.std) != (expected.mean, expected.std)
        self.register_buffer("slope", (std / own_std).view(3, 1, 1))
        self.register_buffer("offset", ((mean - own_mean) / own_std).view(3, 1, 1))
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "TimmTeacher":
        return super().train(False)

    def forward(self, images: torch.Tensor, domain: torch.Tensor) -> torch.Tensor:
        """images (B, 3, H, W) normalised for the student → logits (B, classes) without a gradient; `domain` has no effect."""
        with torch.inference_mode():
            if self.is_converted:
                images = torch.addcmul(self.offset, images, self.slope)
            if images.shape[-1] != self.size:
                images = F.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
            logits = self.last_linear(self.network(images))
        return logits.clone()  # see `models.dsn.Teacher`


def load_teacher(value: str, arch: str, given: Preprocessing) -> nn.Module:
    """The teacher that `--teacher` names: timm/NAME, timm/NAME=FILE, or FILE of an SE-ResNet-50 or of the trunk's model.

    Its `last_linear` is the classifier. Raises InputError if the model is unknown or its weights cannot be read.
    """
    name, _, file = value.partition("=")
    if not is_timm(value):
        if "legacy_se" not in arch and _is_se_resnet(Path(value)):
            return _se_resnet(value, given)
        if not is_timm(arch):
            raise InputError(f"{OPTION} {value}: holds no SE-ResNet-50; name its model, too: {OPTION} timm/NAME={value}")
        name, file = arch, value
    name = name.removeprefix(TIMM)
    require_model(name)
    expected = preprocessing_of(name, None if has_fixed_size(name) else given.image_size)
    try:
        loaded = load_network(name, expected.image_size, file or DOWNLOAD, OPTION)
    except InputError as error:
        if file != value:
            raise
        raise InputError(f"{error}; or name the model of {OPTION}: {OPTION} timm/NAME={value}") from error
    if loaded.classifier is None:
        raise InputError(f"{OPTION} {value}: has no classifier of ImageNet's 1000 classes; name another model, or none")
    return TimmTeacher(loaded.network, loaded.classifier, given, expected)


def _is_se_resnet(path: Path) -> bool:
    return any(".se_module." in key for key in read_tensors(path, OPTION))


def _se_resnet(file: str, given: Preprocessing) -> nn.Module:
    state: dict[str, Any] = imagenet_state(file, OPTION)
    teacher = Teacher(len(state["last_linear.weight"]))
    teacher.load_state_dict(state)
    default = Preprocessing(given.image_size)
    if (given.mean, given.std) == (default.mean, default.std):
        return teacher
    return TimmTeacher(_Features(teacher), teacher.last_linear, given, default)


class _Features(nn.Module):
    """The pooled feature of photos, without the domain input."""

    def __init__(self, trunk: Teacher) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.trunk.features(images, torch.ones(len(images), device=images.device))
