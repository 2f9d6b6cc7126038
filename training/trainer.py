"""The training loop: epochs of steps, each epoch validated and saved."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from datasets.batches import Batch, MixedBatches
from models.dsn import Student
from training.checkpointing import Checkpointer
from training.config import TrainConfig
from training.curves import Curves
from training.finite_checks import NotFinite, finite_mean_losses, require_finite_weights
from training.state import TrainingState
from training.step import TrainingStep
from utils.errors import InputError, Stopped
from utils.progress import progress_bar
from utils.runs import NOT_FINITE
from utils.signals import StopRequest

SHORT_NAMES = {"classification": "cls", "distillation": "kd", "contrastive": "cmc", "memory": "mem"}


@dataclass
class Trainer:
    """Trains a run from its `state` to its last epoch. `validate` returns the validation mAP of a student."""

    step: TrainingStep
    batches: MixedBatches
    validate: Callable[[Student], float]
    checkpointer: Checkpointer
    stop: StopRequest
    config: TrainConfig
    state: TrainingState

    def train(self) -> None:
        """Train the remaining epochs. Raises Stopped on a stop request, InputError if a loss or weight is not finite."""
        schedule, is_main = self.config.optimisation, self.step.distributed.is_main
        with Curves(self.checkpointer.folder, enabled=is_main) as curves, self.stop.deferred():
            try:
                for epoch in range(self.state.epochs, schedule.epochs):
                    for group in self.step.optimizer.param_groups:
                        initial = group.get("initial_lr", schedule.lr)
                        group["lr"] = learning_rate(initial, schedule.lr_decay, epoch, schedule.epochs)
                    losses = self.train_one_epoch()
                    value = self._validate()
                    self._finish_epoch(losses, value, curves)
            except NotFinite as error:
                raise self._not_finite() from error

    def _finish_epoch(self, losses: dict[str, float], value: float, curves: Curves) -> None:
        """Write curves and checkpoints, and print one line; `value` is the validation mAP. Raises Stopped on a stop request."""
        state = self.state
        self.checkpointer.prepare()
        state.finish_epoch()
        curves.write(state.epochs, {**{f"loss/{name}": mean for name, mean in losses.items()}, "validation/map_hash": value})
        with self.stop.without_deadline():
            self.checkpointer.save_epoch(state, value)

        means = "  ".join(f"{SHORT_NAMES.get(name, name)} {mean:.4f}" for name, mean in losses.items())
        validation = f"validation mAP {value:.4f}  best {state.best:.4f}"
        print(f"epoch {state.epochs}/{self.config.optimisation.epochs}  {means}  {validation}", flush=True)
        if self.stop.is_requested():
            raise self._stopped()

    def train_one_epoch(self) -> dict[str, float]:
        """Train the remaining steps of the current epoch and return the means of the four losses and their sum, by name.

        Losses are summed on the device and read every `--print_freq` steps, so that no step waits for the device. Raises
        NotFinite if one is not finite when it is read, and Stopped, once the state is saved, on a stop request.
        """
        step, state, batches = self.step, self.state, self.batches
        step.student.train()
        if state.steps == 0:
            step.bank.empty()
        images = sum(batches.per_batch)
        with progress_bar(len(batches) * images, f"epoch {state.epochs + 1}", "img", initial=state.steps * images) as bar:
            for batch in self._stoppable(batches.of_epoch(state.epochs, first=state.steps)):
                state.add(step(batch, state.epochs, state.steps + 1))
                bar.update(images)
                if state.steps % self.config.runtime.print_freq == 0 or state.steps == len(batches):
                    means = finite_mean_losses(state)
                    bar.set_postfix_str(" ".join(f"{short} {means[name]:.2f}" for name, short in SHORT_NAMES.items()))
                self._save_if_due()
        losses = finite_mean_losses(state)
        require_finite_weights(step.student)
        return losses

    def _stoppable(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The same batches; a stop request while a single process waits for one saves the state and raises Stopped."""
        while True:
            try:
                with self.stop.immediate() if self.step.distributed.world_size == 1 else contextlib.nullcontext():
                    batch = next(batches, None)
            except Stopped:
                self._save()
                raise self._stopped() from None
            if batch is None:
                return
            yield batch

    def _save_if_due(self) -> None:
        """Save after `--save_minutes`, and on a stop request, which then raises Stopped."""
        is_to_stop = self.stop.is_requested()
        if is_to_stop or self.checkpointer.is_due():
            self._save()
        if is_to_stop:
            with self.stop.without_deadline():
                self.step.distributed.barrier()  # a launcher ends all processes as soon as one has ended
            raise self._stopped()

    def _validate(self) -> float:
        """The validation mAP; several processes always finish it, since each would wait for one that stopped."""
        student, distributed = self.step.student, self.step.distributed
        if distributed.world_size > 1:
            if self.config.runtime.batchnorm == "local":
                distributed.broadcast(student.buffers())  # validate the statistics that are saved
            with self.stop.without_deadline():
                return self.validate(student)
        try:
            with self.stop.immediate():
                return self.validate(student)
        except Stopped:
            self._save()
            raise self._stopped() from None

    def _save(self) -> None:
        """Save the finished steps of the current epoch, if any. Raises NotFinite if a loss or weight is not finite."""
        if self.state.steps == 0:  # the last epoch is saved already
            return
        finite_mean_losses(self.state)
        require_finite_weights(self.step.student)
        with self.stop.without_deadline():
            self.checkpointer.save(self.state)

    def _stopped(self) -> Stopped:
        is_saved = self.state.epochs > 0 or self.state.steps > 0
        outcome = f"saved after {self.state}; go on with --resume" if is_saved else "with nothing new to save"
        return Stopped(f"stopped by {self.stop.given or 'another process'}, {outcome}")

    def _not_finite(self) -> InputError:
        """Save the state for inspection and return the error to raise."""
        state, losses = self.state, self.state.mean_losses()
        name = next((f"{name} loss is" for name, mean in losses.items() if not abs(mean) < float("inf")), "weights are")
        step = self.step.guard.first_bad_step() or state.steps  # weights may go wrong where no loss does
        self.checkpointer.save_not_finite(state, step, losses, self.batches.files_of(state.epochs, step))
        self.step.distributed.barrier()  # a launcher ends all processes as soon as one has ended
        return InputError(
            f"epoch {state.epochs + 1}, step {step}: the {name} not finite, so training stopped; the state is in "
            f"{self.checkpointer.folder / NOT_FINITE}, the batch's files in not_finite.json beside it; lower --lr, or "
            "try --amp off, and go on from the last checkpoint with --resume"
        )


def learning_rate(base: float, decay: float, epoch: int, epochs: int) -> float:
    """base · decay^(epoch/epochs), for epochs counted from 0."""
    return base * decay ** (epoch / epochs)
