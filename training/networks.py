"""Student, teacher and semantic mask of a new run, with their initial weights."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from datasets.catalog import IMAGENET_CLASSES
from datasets.file_lists import Split
from models.cse_resnet import CSEResNet50
from models.dsn import Student, Teacher
from models.names import ALL, NONE, is_timm
from models.pretrained import imagenet_state, load_trunk, start_heads
from models.teachers import TimmTeacher, load_teacher
from models.trainable import choose_trainable
from models.trunk import Trunk
from models.trunks import load_timm, timm_trunk
from training.config import TrainConfig
from utils.errors import InputError


@dataclass(frozen=True)
class InitialNetworks:
    """semantic_mask: (seen classes, teacher classes) float32; zeros without a teacher and a mask file."""

    student: Student
    teacher: nn.Module | None
    semantic_mask: np.ndarray


@dataclass(frozen=True)
class _Start:
    """A trunk with its initial weights. classifier: weight (K, D) and bias (K,) of its own ImageNet classifier, if it has one;
    then `teacher` makes a frozen copy of trunk and classifier."""

    trunk: Trunk
    classifier: tuple[torch.Tensor, torch.Tensor] | None = None
    teacher: Callable[[], nn.Module] | None = None


def initial_networks(split: Split, config: TrainConfig) -> InitialNetworks:
    """Without a teacher (`--pretrained_weights none`, or a trunk without an ImageNet classifier) the mask may be missing.

    Raises InputError if weights cannot be read or do not fit, or the mask does not fit the teacher.
    """
    only_validates_checkpoint = config.runtime.evaluate and config.runtime.resume
    source = NONE if only_validates_checkpoint else config.model.pretrained_weights
    start = _timm_start(config, source) if is_timm(config.model.arch) else _cse_start(config, source)
    chosen = NONE if only_validates_checkpoint else config.model.teacher
    teacher = None if chosen in (None, NONE) else load_teacher(chosen, config.model.arch, config.preprocessing)
    own = start.classifier if chosen is None else None
    mask = _semantic_mask(split, len(own[1]) if own else teacher and teacher.last_linear.out_features)
    student = _student(start, split.seen_classes, mask.shape[1], config)
    if own and start.teacher and config.objective.sake_lambda > 0:
        teacher = start.teacher()
    if not only_validates_checkpoint:
        _print_start(start, student, source, chosen, config)
    return InitialNetworks(student, teacher if config.objective.sake_lambda > 0 else None, mask)


def _cse_start(config: TrainConfig, source: str) -> _Start:
    state = None if source == NONE else imagenet_state(source)
    trunk = CSEResNet50(domain_tag=config.model.domain_tag == "on")
    if state is None:
        return _Start(trunk)
    load_trunk(trunk, state)
    classifier = state["last_linear.weight"], state["last_linear.bias"]

    def teacher() -> Teacher:
        frozen = Teacher(len(classifier[0]))
        frozen.load_state_dict(state)
        return frozen

    return _Start(trunk, classifier, teacher)


def _timm_start(config: TrainConfig, source: str) -> _Start:
    arch, images = config.model.arch, config.preprocessing
    loaded = load_timm(arch, source, images)
    classifier, is_teacher = loaded.classifier, config.model.teacher is None and config.objective.sake_lambda > 0
    frozen = copy.deepcopy(loaded.network) if is_teacher and classifier else loaded.network
    trunk = timm_trunk(arch, loaded, images, config.model.domain_tag == "on")
    if classifier is None:
        return _Start(trunk)
    weights = classifier.weight.detach().clone(), classifier.bias.detach().clone()
    return _Start(trunk, weights, lambda: TimmTeacher(frozen, classifier, images, images))


def _semantic_mask(split: Split, teacher_classes: int | None) -> np.ndarray:
    if teacher_classes is None:
        has_mask = split.mask_file.exists()
        return split.semantic_mask() if has_mask else np.zeros((split.seen_classes, IMAGENET_CLASSES), np.float32)
    mask = split.semantic_mask()
    if mask.shape[1] != teacher_classes:
        raise InputError(
            f"{split.mask_file}: vectors of {mask.shape[1]} do not fit a teacher of {teacher_classes} classes; "
            "use a mask made for this teacher, or other --pretrained_weights"
        )
    return mask


def _student(start: _Start, seen_classes: int, teacher_classes: int, config: TrainConfig) -> Student:
    """Its heads start as the classifier, or without one as an orthogonal projection and random weights."""
    objective = config.objective
    student = Student(
        config.model.num_hashing,
        seen_classes,
        teacher_classes,
        distance_head=config.model.ems_loss,
        projection_dim=objective.contrastive_dim if objective.contrastive_on == "projection" else None,
        trunk=start.trunk,
    )
    if start.classifier is not None and len(start.classifier[1]) == teacher_classes:
        start_heads(start.trunk, *start.classifier)
    elif is_timm(config.model.arch):
        nn.init.orthogonal_(start.trunk.second_last_linear.weight)
        nn.init.zeros_(start.trunk.second_last_linear.bias)
    choose_trainable(student, config.optimisation.trainable)
    if config.runtime.checkpoint_activations:
        try:
            start.trunk.checkpoint_activations()
        except NotImplementedError:
            raise InputError(f"--checkpoint_activations: --arch {config.model.arch} does not support it; leave it out") from None
    return student


def _print_start(start: _Start, student: Student, source: str, chosen: str | None, config: TrainConfig) -> None:
    """What the weights are, and which teacher there is."""
    arch = config.model.arch
    _print_trained_share(student, config.optimisation.trainable)
    if start.trunk.licence:
        print(f"initial weights of {arch}: licence {start.trunk.licence}")
    if source == NONE and chosen in (None, NONE):
        print("from scratch, without a teacher: no ImageNet weights, and no distillation loss")
    elif chosen == NONE:
        print("without a teacher: no distillation loss")
    elif chosen is not None:
        print(f"teacher: {chosen}")
    elif start.classifier is None:
        print(f"without a teacher: {arch} has no ImageNet classifier, so there is no distillation loss; --teacher adds one")
    elif is_timm(arch):
        print(f"teacher: the ImageNet classifier of {arch}")


def _print_trained_share(student: Student, which: str) -> None:
    if which != ALL:
        counts = [(parameter.numel(), parameter.requires_grad) for parameter in student.parameters()]
        trained, total = sum(count for count, is_trained in counts if is_trained), sum(count for count, _ in counts)
        print(f"--train {which}: {trained:,} of {total:,} parameters")
