"""From the config of a run to its batches, validation and training step."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from datasets.batches import MixedBatches, validation_pairs
from datasets.file_lists import FileList, Split
from datasets.views import ThreeViews
from evaluation.embedding import Embedder
from evaluation.resources import Resources
from losses.memory_bank import MemoryBank
from losses.objective import Weights
from models.batchnorm import synchronise_batchnorm
from models.dsn import Student
from models.embedding import embedding_network
from models.engine import precision_of
from models.names import PHOTO, SKETCH, is_timm
from models.torch_engine import TorchEngine
from retrieval.scores import hash_scores
from training.config import Recipe, TrainConfig
from training.networks import initial_networks
from training.step import TrainingStep
from utils.errors import InputError

# DistributedDataParallel renamed this option, and warns about the old name.
HAS_NEW_NAME = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
BUFFERS_IN_FORWARD = "forward_sync_buffers" if HAS_NEW_NAME else "broadcast_buffers"
SOURCE_SIDE = 256 / 224  # images are decoded this much larger than the network's input, and warped at that size


def training_batches(
    recipe: Recipe, sketches: FileList, photos: FileList, config: TrainConfig, resources: Resources
) -> MixedBatches:
    """Batches of `--batch_size` images, `recipe.photos_per_sketch` photos per sketch.

    Raises InputError if a batch holds no sketch, or a list does not fill a batch.
    """
    batch_size, per_sketch = config.optimisation.batch_size, recipe.photos_per_sketch
    sketches_per_batch = batch_size // (1 + per_sketch)
    if sketches_per_batch < 1:
        raise InputError(
            f"--batch_size {batch_size}: holds no sketch; use at least {1 + per_sketch}, one sketch to {per_sketch} photos"
        )
    side = round(config.image_size * SOURCE_SIDE)
    return MixedBatches(
        sketches,
        photos,
        sketches_per_batch=sketches_per_batch,
        photos_per_batch=sketches_per_batch * per_sketch,
        side=side,
        fit=config.preprocessing.whole_image(side).fit,
        seed=config.optimisation.seed,
        num_workers=resources.num_workers,
        pin_memory=resources.device.type == "cuda",
        steps_per_epoch=config.optimisation.steps_per_epoch,
        distributed=resources.distributed,
    )


def validation(sketches: FileList, photos: FileList, config: TrainConfig, resources: Resources) -> Callable[[Student], float]:
    """A function student → hash mAP, with held-out sketches of seen classes as queries and training photos as gallery."""
    batch_size, device = config.optimisation.batch_size, resources.device
    count = config.optimisation.validation_batches * max(1, batch_size // 2)
    sketches, photos, row = validation_pairs(sketches, photos, count, config.optimisation.seed)
    sketch_of_photo, labels = torch.from_numpy(row).to(device), torch.from_numpy(photos.labels).to(device)
    print(f"validation: hash mAP over {len(photos)} pairs of a training photo and a held-out sketch")

    def validate(student: Student) -> float:
        """Only the main process computes the mAP; the others return 0."""
        embed = Embedder(
            TorchEngine(embedding_network(student, config.preprocessing), device, precision_of(resources.amp)),
            device,
            batch_size,
            resources.num_workers,
            distributed=resources.distributed,
        )
        queries = embed(sketches, SKETCH, "validation sketches")[sketch_of_photo]
        gallery = embed(photos, PHOTO, "validation photos")
        if not resources.distributed.is_main:
            return 0.0
        return hash_scores(queries, labels, gallery, labels, config.model.num_hashing).summary()["map_all_released"]

    return validate


def training_step(split: Split, config: TrainConfig, resources: Resources, sketches_per_batch: int) -> TrainingStep:
    """Student and teacher with their initial weights, an empty memory bank, the losses' weights and the optimizer.

    Without a teacher (`--pretrained_weights none`) the semantic mask may be missing. Raises InputError if the weights cannot
    be read, or the mask does not fit the teacher.
    """
    objective, device = config.objective, resources.device
    networks = initial_networks(split, config)
    student = networks.student.to(device, memory_format=torch.channels_last)
    if resources.distributed.world_size > 1 and config.runtime.batchnorm == "synchronised":
        student = synchronise_batchnorm(student, device)
    teacher = networks.teacher and networks.teacher.to(device, memory_format=torch.channels_last)
    return TrainingStep(
        student=student,
        teacher=teacher,
        semantic_mask=torch.from_numpy(networks.semantic_mask).to(device),
        bank=MemoryBank(split.seen_classes, objective.topk, student.original_model.feature_dim).to(device),
        views=ThreeViews(config.image_size, config.optimisation.seed, config.preprocessing.normalise),
        weights=Weights(objective.cls_lambda, objective.sake_lambda, objective.contrastive_lambda, objective.memory_lambda),
        objective=objective,
        forward=wrapped_forward(student, teacher is not None, config, resources),
        optimizer=adam(student, config.optimisation.lr, config.optimisation.weight_decay, config.optimisation.trunk_lr),
        sketches=sketches_per_batch,
        device=device,
        amp=resources.amp,
        distributed=resources.distributed,
    )


def wrapped_forward(student: Student, has_teacher: bool, config: TrainConfig, resources: Resources) -> Callable[..., Any] | None:
    """The student in DistributedDataParallel if there are several processes; else None, for the student itself."""
    if resources.distributed.world_size == 1:
        return None
    unused = _unused_parameters(student, has_teacher, config.objective.contrastive_lambda)
    for parameter in unused:
        parameter.requires_grad_(False)  # else DistributedDataParallel waits for its gradient
    network = DistributedDataParallel(
        student,
        device_ids=[torch.cuda.current_device()] if resources.device.type == "cuda" else None,
        gradient_as_bucket_view=True,
        find_unused_parameters=is_timm(config.model.arch),  # some of timm's models have parameters that no feature depends on
        **{BUFFERS_IN_FORWARD: config.runtime.batchnorm == "local"},  # else all processes have the same statistics
    )
    for parameter in unused:
        parameter.requires_grad_(True)
    return network


def _unused_parameters(student: Student, has_teacher: bool, contrastive_weight: float) -> list[nn.Parameter]:
    """Trainable parameters of heads that no loss of this run depends on."""
    heads: list[nn.Module] = [] if has_teacher else [student.original_model.last_linear]
    if student.contrastive_head is not None and contrastive_weight == 0:
        heads.append(student.contrastive_head)
    return [parameter for head in heads for parameter in head.parameters() if parameter.requires_grad]


def adam(student: Student, lr: float, weight_decay: float, trunk_lr: float | None = None) -> torch.optim.Optimizer:
    """Adam over the trainable parameters; weight decay is the coupled L2 term. trunk_lr: None for `lr`."""
    trunk = {id(parameter) for part in student.trunk_parts() for parameter in part.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in student.parameters():
        if parameter.requires_grad:
            rate = trunk_lr if trunk_lr is not None and id(parameter) in trunk else lr
            decay = 0.0 if hasattr(parameter, "no_weight_decay") else weight_decay
            groups.setdefault((rate, decay), []).append(parameter)
    rules: list[dict[str, Any]] = []
    for (rate, decay), group in groups.items():
        known = {"initial_lr": rate} if len(groups) > 1 else {}  # the trainer's schedule starts there
        rules.append({"params": group, "lr": rate, "weight_decay": decay, **known})
    is_fused = next(student.parameters()).device.type in ("cpu", "cuda")  # one pass over the weights instead of several
    return torch.optim.Adam(rules, lr=lr, weight_decay=weight_decay, fused=is_fused)
