"""The training run that both train scripts share: its pieces come from `engine.wiring`."""

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch

from datasets.batches import MixedBatches
from datasets.file_lists import Split
from datasets.image_files import Batch
from engine import wiring
from engine.options import Recipe
from engine.profiling import profile_steps
from engine.saving import resume, save, step_aside
from engine.step import Learner, take_step
from losses.objective import Terms
from utils.devices import choose_device, decoding_workers
from utils.errors import InputError
from utils.files import require_writable
from utils.memory import peak_memory
from utils.progress import progress_bar
from utils.runs import BEST, LAST, record_run, run_folder
from utils.seeding import seed_everything

SHORT_NAMES = {"classification": "cls", "distillation": "kd", "contrastive": "cmc", "memory": "mem"}


def train(recipe: Recipe, options: argparse.Namespace) -> float:
    """Train (or, with `--evaluate`, only validate) and return the best validation mAP."""
    device = choose_device(options.device)
    options.num_workers = decoding_workers(options.num_workers, device)
    seed_everything(options.seed)
    split = Split(recipe.dataset, options.data_root, options.zero_version, options.num_classes)
    photos = split.photos("train")
    batches = wiring.training_batches(recipe, split.sketches("train"), photos, options, device)
    validate = wiring.validation(split.sketches("test"), photos, options, device)
    learner = wiring.learner(split, options, device)
    optimizer = wiring.optimizer(learner.student, options)

    folder = run_folder(options.savedir, recipe.dataset.run_prefix, options)
    first_epoch, best = resume(folder / LAST, learner, optimizer) if options.resume else (0, 0.0)
    if options.evaluate:
        value = validate(learner.student)
        print(f"validation mAP (hash, released protocol) {value:.4f}")
        return value
    require_writable(folder / "options.json", option="--savedir", suffix=".json")
    print(f"run folder {folder}\n{len(batches)} steps an epoch of {sum(batches.shares)} images on {device}")
    if options.profile:
        batches.prepare()
        print(_profile(learner, optimizer, batches, first_epoch, folder))
        return best
    if options.resume and first_epoch >= options.epochs:
        print(f"nothing to do: {first_epoch} of {options.epochs} epochs are trained; raise --epochs to go on")
        return best

    def begin() -> None:
        """Once there is something to write: until then, what an earlier run left is not touched."""
        if not options.resume:
            step_aside(folder)
        record = f"options_from_epoch_{first_epoch + 1}.json" if options.resume else "options.json"
        record_run(folder / record, options, num_classes=split.seen_classes, device=str(device), steps=len(batches))

    if options.epochs == 0:
        value = validate(learner.student)
        begin()
        return save(folder, 0, learner, optimizer, best, value)
    batches.prepare()
    with contextlib.ExitStack() as open_files:
        for epoch in range(first_epoch, options.epochs):
            set_learning_rate(optimizer, learning_rate(options.lr, options.lr_decay, epoch, options.epochs))
            means = train_one_epoch(learner, optimizer, batches, epoch, options.print_freq)
            value = validate(learner.student)
            if epoch == first_epoch:
                begin()
                curves = open_files.enter_context(_curves(folder))
            best = save(folder, epoch + 1, learner, optimizer, best, value)
            curves(epoch + 1, {**{f"loss/{name}": mean for name, mean in means.items()}, "validation/map_hash": value})
            losses = "  ".join(f"{SHORT_NAMES.get(name, name)} {mean:.4f}" for name, mean in means.items())
            print(f"epoch {epoch + 1}/{options.epochs}  {losses}  validation mAP {value:.4f}  best {best:.4f}")
    print(f"best validation mAP {best:.4f}: {folder / BEST}\npeak memory: {peak_memory(device)}")
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
    with progress_bar(len(batches) * images, f"epoch {epoch + 1}", "img") as bar:
        for step, batch in enumerate(batches.of_epoch(epoch), start=1):
            sums += take_step(learner, optimizer, batch, sketches, epoch, step)
            bar.update(images)
            if step % print_freq == 0 or step == len(batches):
                means = dict(zip(names, (sums / step).tolist(), strict=True))
                _require_finite(means, epoch, step)
                bar.set_postfix_str(" ".join(f"{short} {means[name]:.2f}" for name, short in SHORT_NAMES.items()))
    return means


def _profile(learner: Learner, optimizer: torch.optim.Optimizer, batches: MixedBatches, epoch: int, folder: Path) -> str:
    """Where the steps of this epoch spend their time, as text; the trace is in `folder`."""
    learner.student.train()
    sketches = batches.shares[0]

    def step(batch: Batch, number: int) -> None:
        take_step(learner, optimizer, batch, sketches, epoch, number)

    return profile_steps(batches.of_epoch(epoch), len(batches), step, learner, folder)


def learning_rate(base: float, decay: float, epoch: int, epochs: int) -> float:
    """base · decay^(epoch/epochs), for epochs counted from 0."""
    return base * decay ** (epoch / epochs)


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """The same step size for all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = value


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
    if (folder / "curves").is_file():
        raise InputError(f"{folder / 'curves'}: is a file where the curves' folder should be; move it away")
    with SummaryWriter(folder / "curves") as writer:
        yield lambda epoch, values: [writer.add_scalar(name, value, epoch) for name, value in values.items()]
