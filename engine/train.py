"""The training run that both train scripts share: wiring first, then the loop."""

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from datasets.batches import MixedBatches, validation_pairs
from datasets.file_lists import Split
from datasets.views import ThreeViews
from engine.evaluate import Embedder, hash_scores
from engine.options import Recipe
from engine.step import Learner
from losses.memory import MemoryBank
from losses.objective import Terms, Weights
from models.cse_resnet import FEATURE_DIM, PHOTO, SKETCH
from models.dsn import Student, Teacher
from models.pretrained import NONE, imagenet_state, start_student
from utils.checkpoints import load_state, read_checkpoint, write_checkpoint
from utils.devices import choose_device, decoding_workers
from utils.errors import InputError
from utils.runs import BEST, LAST, keep_previous, record_run, run_folder
from utils.seeding import random_state, restore_random_state, seed_everything

SOURCE_SIDE = 256 / 224  # warps are drawn on images this much larger than what the network sees
SHORT_NAMES = {"classification": "cls", "distillation": "kd", "contrastive": "cmc", "memory": "mem"}


def train(recipe: Recipe, options: argparse.Namespace) -> float:
    """Train (or, with `--evaluate`, only validate) and return the best validation mAP."""
    device = choose_device(options.device)
    options.num_workers = decoding_workers(options.num_workers, device)
    seed_everything(options.seed)
    split = Split(recipe.dataset, options.data_root, options.zero_version)
    num_classes = _number_of_classes(split, options)
    batches = _training_batches(recipe, split, options, device)
    validate = _validation(split, options, device)
    learner = _learner(split, num_classes, options, device)
    optimizer = _optimizer(learner.student, options)

    folder = run_folder(options.savedir, recipe.dataset.run_prefix, options)
    first_epoch, best = _resume(folder / LAST, learner, optimizer) if options.resume else (0, 0.0)
    if options.evaluate:
        value = validate(learner.student)
        print(f"validation mAP (hash, released protocol) {value:.4f}")
        return value
    if not options.resume:
        for kept in keep_previous(folder):
            print(f"an earlier run's checkpoint is kept as {kept}")
    record_run(folder, options, num_classes=num_classes, device=str(device), steps=len(batches), first_epoch=first_epoch)
    print(f"run folder {folder}\n{len(batches)} steps an epoch of {sum(batches.shares)} images on {device}")

    if options.epochs == 0:
        best = _save(folder, 0, learner, optimizer, best, validate(learner.student))
    with _curves(folder) as curves:
        for epoch in range(first_epoch, options.epochs):
            set_learning_rate(optimizer, learning_rate(options.lr, options.lr_decay, epoch, options.epochs))
            means = train_one_epoch(learner, optimizer, batches, epoch, options.print_freq)
            value = validate(learner.student)
            best = _save(folder, epoch + 1, learner, optimizer, best, value)
            curves(epoch + 1, {**{f"loss/{name}": mean for name, mean in means.items()}, "validation/map_hash": value})
            losses = "  ".join(f"{SHORT_NAMES.get(name, name)} {mean:.4f}" for name, mean in means.items())
            print(f"epoch {epoch + 1}/{options.epochs}  {losses}  validation mAP {value:.4f}  best {best:.4f}")
    print(f"best validation mAP {best:.4f}: {folder / BEST}")
    return best


def train_one_epoch(
    learner: Learner, optimizer: torch.optim.Optimizer, batches: MixedBatches, epoch: int, print_freq: int
) -> dict[str, float]:
    """One pass; the means of the four losses and of their weighted total, by name.

    Losses are summed on the device and read every `print_freq` steps, so that no step waits for a number. Raises InputError
    if one of them is not finite by then.
    """
    learner.student.train()
    learner.bank.empty()
    sketches, images = batches.shares[0], sum(batches.shares)
    names = (*Terms._fields, "total")
    sums = torch.zeros(len(names), device=learner.device)
    with tqdm(total=len(batches) * images, desc=f"epoch {epoch + 1}", unit="img", leave=False) as bar:
        for step, batch in enumerate(batches.of_epoch(epoch), start=1):
            terms = learner.terms(batch, sketches, epoch, step)
            total = learner.weights.total(terms)
            optimizer.zero_grad(set_to_none=True)
            total.backward()
            optimizer.step()
            sums += torch.stack([*terms, total]).detach()
            bar.update(images)
            if step % print_freq == 0 or step == len(batches):
                means = dict(zip(names, (sums / step).tolist(), strict=True))
                _require_finite(means, epoch, step)
                bar.set_postfix({short: f"{means[name]:.3f}" for name, short in SHORT_NAMES.items()})
    return means


def learning_rate(base: float, decay: float, epoch: int, epochs: int) -> float:
    """base · decay^(epoch/epochs), for epochs counted from 0."""
    return base * decay ** (epoch / epochs)


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """The same step size for all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = value


def _number_of_classes(split: Split, options: argparse.Namespace) -> int:
    found = len(split.class_names("train"))
    if options.num_classes not in (None, found):
        raise InputError(f"{split.folder}: has {found} seen classes; pass --num_classes {found} or leave it out")
    return found


def _training_batches(recipe: Recipe, split: Split, options: argparse.Namespace, device: torch.device) -> MixedBatches:
    sketches_per_batch = options.batch_size // (1 + recipe.photos_per_sketch)
    if sketches_per_batch < 1:
        needed = 1 + recipe.photos_per_sketch
        raise InputError(
            f"--batch_size {options.batch_size}: holds no sketch; use at least {needed}, one sketch to {needed - 1} photos"
        )
    return MixedBatches(
        split.sketches("train"),
        split.photos("train"),
        sketches_per_batch=sketches_per_batch,
        photos_per_batch=sketches_per_batch * recipe.photos_per_sketch,
        side=round(options.image_size * SOURCE_SIDE),
        seed=options.seed,
        num_workers=options.num_workers,
        pin_memory=device.type == "cuda",
        steps_per_epoch=options.steps_per_epoch,
    )


def _validation(split: Split, options: argparse.Namespace, device: torch.device):
    """A function student → hash mAP over pairs of training photos and held-out sketches of their classes."""
    count = options.validation_batches * max(1, options.batch_size // 2)
    sketches, photos, row = validation_pairs(split.sketches("test"), split.photos("train"), count, options.seed)
    row = torch.from_numpy(row).to(device)
    labels = torch.from_numpy(photos.labels).to(device)

    def validate(student: Student) -> float:
        batch_size = options.batch_size
        embed = Embedder(student, device, options.image_size, batch_size, options.num_workers, amp=options.amp)
        queries = embed(sketches, SKETCH, "validation sketches")[row]
        gallery = embed(photos, PHOTO, "validation photos")
        scores = hash_scores(queries, labels, gallery, labels, options.num_hashing)
        return scores.summary()["map_all_released"]

    return validate


def _learner(split: Split, num_classes: int, options: argparse.Namespace, device: torch.device) -> Learner:
    mask = split.semantic_mask(num_classes)
    state = None if options.pretrained_weights == NONE else imagenet_state(options.pretrained_weights)
    teacher_classes = mask.shape[1] if state is None else len(state["last_linear.weight"])
    if state is not None and mask.shape[1] != teacher_classes:
        raise InputError(
            f"{split.folder / 'cid_mask.pickle'}: vectors of {mask.shape[1]} do not fit a teacher of {teacher_classes} classes; "
            "use a mask made for this teacher, or other --pretrained_weights"
        )
    student = Student(
        options.num_hashing,
        num_classes,
        teacher_classes,
        distance_head=options.ems_loss,
        projection_dim=options.contrastive_dim if options.contrastive_on == "projection" else None,
    )
    if state is None:
        print("from scratch, without a teacher: no ImageNet weights, and no distillation loss")
    else:
        start_student(student, state)
    if options.freeze_features:
        student.freeze_trunk()
    return Learner(
        student=student.to(device, memory_format=torch.channels_last),
        teacher=_teacher(state, teacher_classes, options, device),
        semantic_mask=torch.from_numpy(mask).to(device),
        bank=MemoryBank(num_classes, options.topk, FEATURE_DIM).to(device),
        views=ThreeViews(options.image_size, options.seed),
        weights=Weights(options.cls_lambda, options.sake_lambda, options.contrastive_lambda, options.memory_lambda),
        options=options,
        device=device,
    )


def _teacher(state: dict | None, classes: int, options: argparse.Namespace, device: torch.device) -> Teacher | None:
    if state is None or options.sake_lambda == 0:
        return None
    teacher = Teacher(classes)
    teacher.load_state_dict(state)
    return teacher.to(device, memory_format=torch.channels_last)


def _optimizer(student: nn.Module, options: argparse.Namespace) -> torch.optim.Optimizer:
    learning = [parameter for parameter in student.parameters() if parameter.requires_grad]
    is_fused = learning[0].device.type in ("cpu", "cuda")  # one pass over the weights instead of one per operation
    return torch.optim.Adam(learning, lr=options.lr, weight_decay=options.weight_decay, fused=is_fused)


def _resume(path: Path, learner: Learner, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    content = read_checkpoint(path, option="--resume")
    ignored = load_state(learner.student, content["state_dict"], path)
    if ignored:
        print(f"{path}: ignoring keys this network has no place for: {', '.join(ignored)}")
    try:
        epoch, best = int(content["epoch"]), float(content["best_acc1"])
        if content.get("optimizer") is not None:
            optimizer.load_state_dict(content["optimizer"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: epoch, best value or optimizer state do not fit this run ({error}); start anew") from error
    restore_random_state(content.get("random_state"))
    print(f"resuming at epoch {epoch + 1} from {path}")
    return epoch, best


def _save(folder: Path, epoch: int, learner: Learner, optimizer, best: float, value: float) -> float:
    """Write the last checkpoint, and the best one if `value` beats `best` (or is the first); the best value so far."""
    options = {name: str(v) if isinstance(v, Path) else v for name, v in vars(learner.options).items()}
    is_best = value > best or not (folder / BEST).exists()
    for name in (LAST, BEST) if is_best else (LAST,):
        write_checkpoint(
            folder / name,
            epoch=epoch,
            arch=learner.options.arch,
            state=learner.student.state_dict(),
            best=max(best, value),
            optimizer=optimizer.state_dict(),
            options=options,
            random_state=random_state(),
        )
    return max(best, value)


def _require_finite(means: dict[str, float], epoch: int, step: int) -> None:
    bad = [name for name, mean in means.items() if not abs(mean) < float("inf")]
    if bad:
        raise InputError(
            f"epoch {epoch + 1}, step {step}: the {bad[0]} loss is not finite, so training stopped with the last epoch's "
            "checkpoint kept; lower --lr, or try --amp off"
        )


@contextlib.contextmanager
def _curves(folder: Path) -> Iterator:
    """A function (epoch, {name: value}) that writes TensorBoard scalars, or does nothing where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print("no curves: pip install tensorboard")
        yield lambda epoch, values: None
        return
    with SummaryWriter(folder / "curves") as writer:
        yield lambda epoch, values: [writer.add_scalar(name, value, epoch) for name, value in values.items()]
