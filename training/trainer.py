"""The training loop: epochs of steps, each epoch validated and kept, and the way out when a loss or a signal ends it."""

import argparse
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from datasets.batches import Batch, MixedBatches
from models.dsn import Student
from training.checkpointing import Checkpointer
from training.curves import curves
from training.state import Progress
from training.step import Learner, take_step
from utils.errors import InputError, Stopped
from utils.progress import progress_bar
from utils.runs import NOT_FINITE
from utils.signals import StopRequest

SHORT_NAMES = {"classification": "cls", "distillation": "kd", "contrastive": "cmc", "memory": "mem"}


class NotFinite(Exception):
    """A loss is not a number any more."""


@dataclass
class Run:
    """What a training run needs to go from where it is to its last epoch."""

    learner: Learner
    optimizer: torch.optim.Optimizer
    batches: MixedBatches
    validate: Callable[[Student], float]
    checkpointer: Checkpointer
    stop: StopRequest
    options: argparse.Namespace

    def finish(self, progress: Progress) -> None:
        """Train the epochs that are left. Raises Stopped when told to stop, InputError when a loss stops being finite."""
        options = self.options
        with contextlib.ExitStack() as opened, self.stop.deferred():
            write = None
            for epoch in range(progress.epochs, options.epochs):
                set_learning_rate(self.optimizer, learning_rate(options.lr, options.lr_decay, epoch, options.epochs))
                means = self._train(progress)
                value = self._validate(progress)
                self.checkpointer.begin_once()
                write = write or opened.enter_context(
                    curves(self.checkpointer.folder, epoch + 1, self.learner.distributed.is_main)
                )
                write(epoch + 1, {**{f"loss/{name}": mean for name, mean in means.items()}, "validation/map_hash": value})
                progress.close_epoch()
                with self.stop.without_deadline():
                    self.checkpointer.keep(progress, value)
                losses = "  ".join(f"{SHORT_NAMES.get(name, name)} {mean:.4f}" for name, mean in means.items())
                best = f"validation mAP {value:.4f}  best {progress.best:.4f}"
                print(f"epoch {epoch + 1}/{options.epochs}  {losses}  {best}", flush=True)
                if self.stop.is_requested():
                    raise self._stopped(progress)

    def _train(self, progress: Progress) -> dict[str, float]:
        try:
            means = train_one_epoch(
                self.learner,
                self.optimizer,
                self.batches,
                progress,
                self.options.print_freq,
                self._after_step,
                lambda batches: self._interruptible(batches, progress),
            )
            require_finite_weights(self.learner.student)
            return means
        except NotFinite as fault:
            raise self._not_finite(progress) from fault

    def _interruptible(self, batches: Iterator[Batch], progress: Progress) -> Iterator[Batch]:
        """The same batches; a lone process that gets a signal while it waits for one saves and stops at once."""
        while True:
            try:
                with self.stop.immediate() if self.learner.distributed.world_size == 1 else contextlib.nullcontext():
                    batch = next(batches, None)
            except Stopped:
                self._save_finite(progress)
                raise self._stopped(progress) from None
            if batch is None:
                return
            yield batch

    def _validate(self, progress: Progress) -> float:
        """In a team to its end, for the others would wait in vain for a process that left."""
        student, distributed = self.learner.student, self.learner.distributed
        if distributed.world_size > 1:
            if self.options.batchnorm == "local":
                distributed.broadcast(student.buffers())  # what is validated is what is saved
            with self.stop.without_deadline():
                return self.validate(student)
        try:
            with self.stop.immediate():
                return self.validate(student)
        except Stopped:
            self._save_finite(progress)
            raise self._stopped(progress) from None

    def _after_step(self, progress: Progress) -> None:
        """Save what would be lost otherwise."""
        is_to_stop = self.stop.is_requested()
        if is_to_stop or self.checkpointer.is_due():
            self._save_finite(progress)
        if is_to_stop:
            with self.stop.without_deadline():
                self.learner.distributed.barrier()  # a launcher ends what is left as soon as one process has ended
            raise self._stopped(progress)

    def _save_finite(self, progress: Progress) -> None:
        """Save the steps of the epoch under way, if there are any. Raises NotFinite if a loss or a weight is not finite."""
        if progress.steps == 0:  # nothing has happened since the last epoch was saved
            return
        finite_means(progress)
        require_finite_weights(self.learner.student)
        with self.stop.without_deadline():
            self.checkpointer.save(progress)

    def _stopped(self, progress: Progress) -> Stopped:
        is_saved = progress.epochs > 0 or progress.steps > 0
        outcome = f"saved after {progress}; go on with --resume" if is_saved else "with nothing new to save"
        return Stopped(f"stopped by {self.stop.given or 'another process'}, {outcome}")

    def _not_finite(self, progress: Progress) -> InputError:
        means = progress.means()
        name = next((f"{name} loss is" for name, mean in means.items() if not _is_finite(mean)), "weights are")
        step = self.learner.fault.step() or progress.steps  # weights may go wrong where no loss did
        self.checkpointer.keep_not_finite(progress, step, means, self.batches.files_of(progress.epochs, step))
        self.learner.distributed.barrier()  # a launcher ends what is left as soon as one process has ended
        return InputError(
            f"epoch {progress.epochs + 1}, step {step}: the {name} not finite, so training stopped; the state is in "
            f"{self.checkpointer.folder / NOT_FINITE}, the batch's files in not_finite.json beside it; lower --lr, or "
            "try --amp off, and go on from the last checkpoint with --resume"
        )


def train_one_epoch(
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    batches: MixedBatches,
    progress: Progress,
    print_freq: int,
    after_step: Callable[[Progress], None] = lambda progress: None,
    waiting: Callable[[Iterator[Batch]], Iterator[Batch]] = iter,
) -> dict[str, float]:
    """What is left of the epoch under way; the means of the four losses and of their weighted total, by name.

    Losses are summed on the device and read every `print_freq` steps, so that no step waits for a number. `waiting` wraps the
    iterator over the batches. Raises NotFinite if a loss is not finite by the time it is read.
    """
    learner.student.train()
    if progress.steps == 0:
        learner.bank.empty()
    sketches, images = batches.shares[0], sum(batches.shares)
    done = progress.steps * images
    with progress_bar(len(batches) * images, f"epoch {progress.epochs + 1}", "img", initial=done) as bar:
        for batch in waiting(batches.of_epoch(progress.epochs, first=progress.steps)):
            progress.add(take_step(learner, optimizer, batch, sketches, progress.epochs, progress.steps + 1))
            bar.update(images)
            if progress.steps % print_freq == 0 or progress.steps == len(batches):
                means = finite_means(progress)
                bar.set_postfix_str(" ".join(f"{short} {means[name]:.2f}" for name, short in SHORT_NAMES.items()))
            after_step(progress)
    return finite_means(progress)


def finite_means(progress: Progress) -> dict[str, float]:
    """The mean losses of the epoch so far. Raises NotFinite if one is not finite."""
    means = progress.means()
    if not all(map(_is_finite, means.values())):
        raise NotFinite
    return means


def require_finite_weights(student: Student) -> None:
    """Raise NotFinite if a weight is not finite; waits for the device."""
    norms = torch.stack(torch._foreach_norm([parameter.detach() for parameter in student.parameters()]))
    if not torch.isfinite(norms).all():
        raise NotFinite


def learning_rate(base: float, decay: float, epoch: int, epochs: int) -> float:
    """base · decay^(epoch/epochs), for epochs counted from 0."""
    return base * decay ** (epoch / epochs)


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """The same step size for all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = value


def _is_finite(value: float) -> bool:
    return abs(value) < float("inf")
