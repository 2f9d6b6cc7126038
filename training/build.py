"""From options to what a training run needs: batches, validation, the learner, the optimizer."""

import argparse
import contextlib
import inspect
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from datasets.batches import MixedBatches, validation_pairs
from datasets.catalog import IMAGENET_CLASSES
from datasets.file_lists import FileList, Split
from datasets.views import ThreeViews
from evaluation.embedding import Embedder
from evaluation.zero_shot import hash_scores
from losses.memory_bank import MemoryBank
from losses.objective import Weights
from models.batchnorm import synchronise_batchnorm
from models.cse_resnet import FEATURE_DIM, PHOTO, SKETCH
from models.dsn import Student, Teacher
from models.pretrained import NONE, imagenet_state, start_student
from training.config import Recipe
from training.step import Learner
from utils.distributed import Distributed
from utils.errors import InputError

# DistributedDataParallel's option was renamed, and warns under its old name.
HAS_NEW_NAME = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
BUFFERS_IN_FORWARD = "forward_sync_buffers" if HAS_NEW_NAME else "broadcast_buffers"
SOURCE_SIDE = 256 / 224  # warps are drawn on images this much larger than what the network sees


def training_batches(
    recipe: Recipe,
    sketches: FileList,
    photos: FileList,
    options: argparse.Namespace,
    device: torch.device,
    distributed: Distributed | None = None,
) -> MixedBatches:
    """The recipe's shares of `--batch_size`, of which a team's processes get a part each.

    Raises InputError if that leaves no sketch, or a list does not fill a batch.
    """
    distributed = distributed or Distributed()
    sketches_per_batch = options.batch_size // (1 + recipe.photos_per_sketch)
    if sketches_per_batch < 1:
        needed = 1 + recipe.photos_per_sketch
        raise InputError(
            f"--batch_size {options.batch_size}: holds no sketch; use at least {needed}, one sketch to {needed - 1} photos"
        )
    return MixedBatches(
        sketches,
        photos,
        sketches_per_batch=sketches_per_batch,
        photos_per_batch=sketches_per_batch * recipe.photos_per_sketch,
        side=round(options.image_size * SOURCE_SIDE),
        seed=options.seed,
        num_workers=options.num_workers,
        pin_memory=device.type == "cuda",
        steps_per_epoch=options.steps_per_epoch,
        distributed=distributed,
    )


def validation(
    sketches: FileList,
    photos: FileList,
    options: argparse.Namespace,
    device: torch.device,
    distributed: Distributed | None = None,
) -> Callable:
    """A function student → hash mAP over pairs of training photos and held-out sketches of their classes."""
    count = options.validation_batches * max(1, options.batch_size // 2)
    sketches, photos, row = validation_pairs(sketches, photos, count, options.seed)
    row = torch.from_numpy(row).to(device)
    labels = torch.from_numpy(photos.labels).to(device)

    print(f"validation: hash mAP over {len(photos)} pairs of a training photo and a held-out sketch")

    def validate(student: Student) -> float:
        batch_size = options.batch_size
        embed = Embedder(
            student, device, options.image_size, batch_size, options.num_workers, amp=options.amp, distributed=distributed
        )
        queries = embed(sketches, SKETCH, "validation sketches")[row]
        gallery = embed(photos, PHOTO, "validation photos")
        if distributed is not None and not distributed.is_main:
            return 0.0  # only the first process judges and writes
        scores = hash_scores(queries, labels, gallery, labels, options.num_hashing)
        return scores.summary()["map_all_released"]

    return validate


def learner(split: Split, options: argparse.Namespace, device: torch.device, distributed: Distributed | None = None) -> Learner:
    """Student and teacher at their start, the empty memory bank and the weights of the terms.

    Without a teacher (`--pretrained_weights none`) the teacher space is as wide as the semantic mask, which may be missing.
    Raises InputError if the weights cannot be had or the mask does not fit the teacher.
    """
    only_checks_checkpoint = options.evaluate and options.resume
    is_without_teacher = options.pretrained_weights == NONE or only_checks_checkpoint
    mask = _unused_mask(split) if is_without_teacher and not split.mask_file.exists() else split.semantic_mask()
    state = None if is_without_teacher else imagenet_state(options.pretrained_weights)
    teacher_classes = mask.shape[1] if state is None else len(state["last_linear.weight"])
    if state is not None and mask.shape[1] != teacher_classes:
        raise InputError(
            f"{split.mask_file}: vectors of {mask.shape[1]} do not fit a teacher of {teacher_classes} classes; "
            "use a mask made for this teacher, or other --pretrained_weights"
        )
    student = Student(
        options.num_hashing,
        split.seen_classes,
        teacher_classes,
        distance_head=options.ems_loss,
        projection_dim=options.contrastive_dim if options.contrastive_on == "projection" else None,
    )
    if options.pretrained_weights == NONE:
        print("from scratch, without a teacher: no ImageNet weights, and no distillation loss")
    if state is not None:
        start_student(student, state)
    if options.freeze_features:
        student.freeze_trunk()
    distributed = distributed or Distributed()
    student = student.to(device, memory_format=torch.channels_last)
    if distributed.world_size > 1 and options.batchnorm == "synchronised":
        student = synchronise_batchnorm(student)
    teacher = _teacher(state, teacher_classes, options, device)
    return Learner(
        student=student,
        teacher=teacher,
        semantic_mask=torch.from_numpy(mask).to(device),
        bank=MemoryBank(split.seen_classes, options.topk, FEATURE_DIM).to(device),
        views=ThreeViews(options.image_size, options.seed),
        weights=Weights(options.cls_lambda, options.sake_lambda, options.contrastive_lambda, options.memory_lambda),
        options=options,
        device=device,
        forward=_forward(student, options, device, distributed, _unread(student, teacher, options)),
        distributed=distributed,
    )


def _unused_mask(split: Split) -> np.ndarray:
    return np.zeros((split.seen_classes, IMAGENET_CLASSES), np.float32)


def _forward(
    student: Student, options: argparse.Namespace, device: torch.device, distributed: Distributed, unread: list[nn.Parameter]
) -> Callable | None:
    """The student's forward pass in training, if it is not simply its own; `unread` are parameters no loss depends on."""
    network: nn.Module = student
    if distributed.world_size > 1:
        with _set_aside(unread):  # their gradients would be waited for in vain
            network = DistributedDataParallel(
                student,
                device_ids=[torch.cuda.current_device()] if device.type == "cuda" else None,
                gradient_as_bucket_view=True,
                **{BUFFERS_IN_FORWARD: options.batchnorm == "local"},  # else every process has the same statistics anyway
            )
    if options.compile:
        return _compiled(network, device)
    return None if network is student else network


def _unread(student: Student, teacher: Teacher | None, options: argparse.Namespace) -> list[nn.Parameter]:
    """Parameters of heads that no loss of this run depends on."""
    heads = [student.original_model.last_linear] if teacher is None else []
    if student.contrastive_head is not None and options.contrastive_lambda == 0:
        heads.append(student.contrastive_head)
    return [parameter for head in heads for parameter in head.parameters()]


@contextlib.contextmanager
def _set_aside(parameters: list[nn.Parameter]) -> Iterator[None]:
    """Within the block they look frozen."""
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    yield
    for parameter in learning:
        parameter.requires_grad_(True)


def _compiled(network: nn.Module, device: torch.device) -> Callable:
    """The network's forward pass compiled, which happens at its first use; InputError if nothing can be compiled here."""
    try:
        torch.compile(torch.sin)(torch.ones(2, device=device))
    except Exception as error:  # each backend fails in a way of its own
        reason = str(error).strip().splitlines()[0][:160]
        raise InputError(
            f"--compile: does not work here ({reason}); install a C++ compiler (GPU: triton), or leave it out"
        ) from error
    return torch.compile(network, dynamic=False)


def _teacher(state: dict | None, classes: int, options: argparse.Namespace, device: torch.device) -> Teacher | None:
    if state is None or options.sake_lambda == 0:
        return None
    teacher = Teacher(classes)
    teacher.load_state_dict(state)
    return teacher.to(device, memory_format=torch.channels_last)


def optimizer(student: nn.Module, options: argparse.Namespace) -> torch.optim.Optimizer:
    """Adam with its coupled L2 term over what is not frozen."""
    learning = [parameter for parameter in student.parameters() if parameter.requires_grad]
    is_fused = learning[0].device.type in ("cpu", "cuda")  # one pass over the weights instead of one per operation
    return torch.optim.Adam(learning, lr=options.lr, weight_decay=options.weight_decay, fused=is_fused)
