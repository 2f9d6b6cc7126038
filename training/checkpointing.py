"""Checkpoints of a run, written after each epoch and within it; `--resume` continues from them bit for bit."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from datasets.batches import MixedBatches
from models.trunks import record_of, recorded_licence
from training.config import TrainConfig
from training.state import LOSSES, TrainingState
from training.step import TrainingStep
from utils.checkpoints import load_state, read_checkpoint, write_checkpoint
from utils.errors import InputError
from utils.files import atomic_write, remove_unfinished
from utils.runs import BEST, DAMAGED, LAST, NEW_RUN, NOT_FINITE, PREVIOUS, archive_files, list_runs
from utils.seeding import random_state, restore_random_state
from utils.text import one_line

MOMENTS = ("exp_avg", "exp_avg_sq")  # Adam's state of a parameter, beside `step`


def resume(folder: Path, config: TrainConfig, step: TrainingStep, batches: MixedBatches) -> TrainingState:
    """Restore weights, optimizer, memory bank and generators from the newest undamaged checkpoint of the run.

    Without any checkpoint the run starts from the beginning. Raises InputError if there are checkpoints but none can be
    read and fits, if `--evaluate` finds none, or if the processes find different ones.
    """
    found = _newest(folder)
    validates_only = config.runtime.evaluate
    if found is None and validates_only:
        raise InputError(f"{folder / LAST}: no such file; --resume with --evaluate needs a checkpoint{_other_runs(folder)}")
    state = TrainingState() if found is None else restore(*found, step, batches)
    if len(set(step.distributed.all_gather_objects((state.epochs, state.steps, state.best)))) > 1:
        raise InputError(f"{folder}: the processes found different checkpoints there; put --savedir on a disk that they share")
    if found is None:
        print(f"note: no {folder / LAST} to resume from; starting a new run{_other_runs(folder)}")
        return state
    path, content = found
    print(f"resuming after {state} from {path}")
    if path.name == PREVIOUS and (folder / LAST).exists() and step.distributed.is_main and not validates_only:
        (folder / LAST).replace(folder / DAMAGED)  # else it would replace the good one when the next is written
        print(f"note: the damaged checkpoint is kept as {folder / DAMAGED}")
    _print_changed_options(content.get("options"), config)
    return state


def has_checkpoint(folder: Path) -> bool:
    """Whether the run has a checkpoint that `resume` can read."""
    return not (folder / NEW_RUN).exists() and ((folder / LAST).exists() or (folder / PREVIOUS).exists())


def mark_new_run(folder: Path) -> None:
    """Mark the files in the folder as an earlier run's, not to be resumed, until `archive_previous_run` moves them."""
    with atomic_write(folder / NEW_RUN):
        pass


def archive_previous_run(folder: Path, is_new: bool) -> None:
    """Remove unfinished files of killed processes, and move an earlier run's files aside if this run is a new one."""
    for name in (LAST, PREVIOUS, BEST, NOT_FINITE):
        remove_unfinished(folder / name)
    archived = archive_files(folder) if is_new else None
    (folder / NEW_RUN).unlink(missing_ok=True)
    if archived:
        print(f"the files of an earlier run are kept in {archived}")


def restore(path: Path, content: dict[str, Any], step: TrainingStep, batches: MixedBatches) -> TrainingState:
    """Load the content of a checkpoint file into networks, optimizer, memory bank and generators.

    Raises InputError if a part is missing, damaged or does not fit this run.
    """
    ignored = load_state(step.student, content["state_dict"], path)
    if ignored:
        print(f"{path}: ignoring unknown keys: {', '.join(ignored)}")
    try:
        state = TrainingState(content["epoch"], best=float(content["best_acc1"]), compiled=_was_compiled(content))
        if not math.isfinite(state.best):
            raise ValueError("best value not finite")
        if content.get("progress") is not None:
            _restore_within_epoch(state, content["progress"], step, batches, path)
        if content.get("optimizer") is not None:
            _restore_optimizer(step.optimizer, content["optimizer"])
        restore_random_state(content.get("random_state"), step.device)
        step.student.original_model.licence = recorded_licence(content)
    except (AttributeError, IndexError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: epoch, best value, progress or optimizer state do not fit this run ({one_line(error)}); start again"
        ) from error
    return state


def _newest(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The last checkpoint and its content, or the one before it if the last is damaged."""
    last, previous = folder / LAST, folder / PREVIOUS
    if not has_checkpoint(folder):
        return None
    try:
        return last, read_checkpoint(last, option="--resume")
    except InputError as error:
        if not previous.exists():
            raise
        print(f"note: {error}\nnote: resuming from the checkpoint before it, {previous}")
        return previous, read_checkpoint(previous, option="--resume")


def _was_compiled(content: dict[str, Any]) -> bool | None:
    """Files of earlier versions record the option alone."""
    options = content.get("options")
    recorded = content.get("compiled", options.get("compile") if isinstance(options, dict) else None)
    return recorded if isinstance(recorded, bool) else None


def _restore_within_epoch(
    state: TrainingState, saved: dict[str, Any], step: TrainingStep, batches: MixedBatches, path: Path
) -> None:
    steps, sums = saved["steps"], saved["sums"]
    if type(steps) is not int or steps < 1 or sums.shape != (len(LOSSES),) or not torch.isfinite(sums).all():
        raise ValueError("steps or losses of the current epoch")
    if saved["order"] != batches.order.identity or steps > len(batches):
        raise InputError(
            f"{path}: was saved within an epoch of other batches; use the same --batch_size, --steps_per_epoch, --seed and lists"
        )
    step.bank.load_state_dict(saved["bank"])
    state.steps, state.sums = steps, sums.to(step.device)


def _restore_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Load the moments; the settings stay those of this run, since a file from elsewhere may lack them."""
    settings = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(saved)
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)
        for parameter in group["params"]:
            moments = optimizer.state.get(parameter, {})
            if not moments:
                continue
            if any(moments[name].shape != parameter.shape for name in MOMENTS):
                raise ValueError("moments of another shape")
            moments["step"] = torch.as_tensor(moments["step"], dtype=torch.float32).to(parameter.device)  # for a fused optimizer
            if not all(torch.isfinite(moments[name]).all() for name in (*MOMENTS, "step")):
                raise ValueError("moments not finite")


def _other_runs(folder: Path) -> str:
    others = list_runs(folder.parent)
    return f" (runs there: {', '.join(others)})" if others else ""


def _print_changed_options(before: object, config: TrainConfig) -> None:
    """Name the options that differ from those of the resumed run, as far as its checkpoint records them."""
    if not isinstance(before, dict):
        return
    recorded = {name: value for name, value in before.items() if value is None or isinstance(value, (str, int, float))}
    changes = [
        f"{name} {recorded[name]} → {value}"
        for name, value in config.as_text(only_changing_result=True).items()
        if name in recorded and recorded[name] != value and str(recorded[name]).isprintable()
    ]
    if changes:
        print(f"note: differs from the run so far: {', '.join(changes)}")


@dataclass
class Checkpointer:
    """Writes a run's checkpoints, in the main process only. `prepare` is called before any file is written."""

    folder: Path
    config: TrainConfig
    step: TrainingStep
    batches: MixedBatches
    prepare: Callable[[], None]
    _saved_at: float = field(default_factory=time.monotonic)

    def is_due(self) -> bool:
        """Whether `--save_minutes` have passed since the last checkpoint."""
        return 0 < self.config.runtime.save_minutes * 60 <= time.monotonic() - self._saved_at

    def save(self, state: TrainingState) -> None:
        """Write the last checkpoint, within an epoch or after it; the one before it is kept."""
        self._write(LAST, state, previous=self.folder / PREVIOUS)
        self._saved_at = time.monotonic()

    def save_epoch(self, state: TrainingState, value: float) -> None:
        """Write the last checkpoint, and the best one if `value`, the validation mAP, is the best so far or the first."""
        self.prepare()
        is_best = value > state.best or not (self.folder / BEST).exists()
        state.best = max(state.best, value)
        if is_best:
            self._write(BEST, state)  # before the last, which records the best value
        self.save(state)

    def save_not_finite(self, state: TrainingState, step: int, losses: dict[str, float], files: list[str]) -> None:
        """Write the state in which a loss or weight stopped being finite, and the files of the batch it happened on."""
        self._write(NOT_FINITE, state)
        if self.step.distributed.is_main:
            record = {"epoch": state.epochs + 1, "step": step, "mean_losses": {k: str(v) for k, v in losses.items()}}
            with atomic_write(self.folder / "not_finite.json") as temporary:
                temporary.write_text(json.dumps({**record, "files": files}, indent=2) + "\n")

    def _write(self, name: str, state: TrainingState, previous: Path | None = None) -> None:
        if not self.step.distributed.is_main:
            return
        self.prepare()
        within_epoch = {}
        if state.sums is not None:
            bank, order = self.step.bank.state_dict(), self.batches.order.identity
            within_epoch["progress"] = {"steps": state.steps, "sums": state.sums.cpu(), "bank": bank, "order": order}
        write_checkpoint(
            self.folder / name,
            epoch=state.epochs,
            arch=self.config.model.arch,
            state=self.step.student.state_dict(),
            best=state.best,
            optimizer=self.step.optimizer.state_dict(),
            options=self.config.as_text(),
            random_state=random_state(self.step.device),
            compiled=state.compiled,
            previous=previous,
            **record_of(self.step.student.original_model, self.config.preprocessing),
            **within_epoch,
        )
