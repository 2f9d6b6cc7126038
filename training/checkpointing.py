"""A run's checkpoints: written after each epoch and within it, taken up again by `--resume` as if nothing had happened."""

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from datasets.batches import MixedBatches
from training.state import LOSSES, Progress
from training.step import Learner
from utils.checkpoints import load_state, read_checkpoint, write_checkpoint
from utils.errors import InputError
from utils.files import atomic_write, remove_unfinished
from utils.runs import BEST, DAMAGED, LAST, NEW_RUN, NOT_FINITE, PREVIOUS, archive_files, list_runs, options_as_text
from utils.seeding import random_state, restore_random_state
from utils.text import one_line

MOMENTS = ("exp_avg", "exp_avg_sq")  # what Adam keeps of a parameter it has moved
# of options that may differ between a run and its continuation without changing what it computes
UNIMPORTANT = {
    "resume",
    "evaluate",
    "savedir",
    "device",
    "num_workers",
    "print_freq",
    "save_minutes",
    "data_root",
    "cache",
    "cache_dir",
    "profile",
    "skip_bad_images",
}


def resume(folder: Path, learner: Learner, optimizer: torch.optim.Optimizer, batches: MixedBatches) -> Progress:
    """Take up weights, moments, memory bank and generators from the newest whole checkpoint of the run.

    A run that was ended before it had saved anything begins anew. Raises InputError if there are checkpoints but none that is
    whole and fits, or if the processes of a team find different ones.
    """
    found = _newest(folder)
    if found is None and learner.options.evaluate:
        raise InputError(f"{folder / LAST}: no such file; --resume with --evaluate needs a checkpoint{_others_beside(folder)}")
    progress = Progress() if found is None else _restored(*found, learner, optimizer, batches)
    told = learner.distributed.all_gather_objects((progress.epochs, progress.steps, progress.best))
    if len(set(told)) > 1:
        raise InputError(f"{folder}: the processes found different checkpoints there; put --savedir on a disk that they share")
    if found is None:
        print(f"note: nothing to resume, for {folder / LAST} is not there; beginning anew{_others_beside(folder)}")
        return progress
    path, content = found
    print(f"resuming after {progress} from {path}")
    may_write = learner.distributed.is_main and not learner.options.evaluate
    if path.name == PREVIOUS and may_write and (folder / LAST).exists():
        (folder / LAST).replace(folder / DAMAGED)  # else it would take the good one's place when the next is written
        print(f"note: the damaged one is kept as {folder / DAMAGED}")
    _say_what_changed(content.get("options"), learner.options)
    return progress


def has_checkpoint(folder: Path) -> bool:
    """Whether there is something of this run that `resume` can take up."""
    return not (folder / NEW_RUN).exists() and ((folder / LAST).exists() or (folder / PREVIOUS).exists())


def mark_new_run(folder: Path) -> None:
    """From now on what lies in the folder is an earlier run's, not to be taken up, until `archive_previous_run` moves it."""
    with atomic_write(folder / NEW_RUN):
        pass


def _newest(folder: Path) -> tuple[Path, dict] | None:
    """The last checkpoint, or the one before it if the last is damaged."""
    last, previous = folder / LAST, folder / PREVIOUS
    if not has_checkpoint(folder):
        return None
    try:
        return last, read_checkpoint(last, option="--resume")
    except InputError as error:
        if not previous.exists():
            raise
        print(f"note: {error}\nnote: going on from the one before it, {previous}")
        return previous, read_checkpoint(previous, option="--resume")


def _restored(path: Path, content: dict, learner: Learner, optimizer: torch.optim.Optimizer, batches: MixedBatches) -> Progress:
    ignored = load_state(learner.student, content["state_dict"], path)
    if ignored:
        print(f"{path}: ignoring keys this network has no place for: {', '.join(ignored)}")
    try:
        progress = Progress(content["epoch"], best=float(content["best_acc1"]))
        if not math.isfinite(progress.best):
            raise ValueError("best value not finite")
        if content.get("progress") is not None:
            _restore_within_epoch(progress, content["progress"], learner, batches, path)
        if content.get("optimizer") is not None:
            _restore_optimizer(optimizer, content["optimizer"])
        restore_random_state(content.get("random_state"), learner.device)
    except (AttributeError, IndexError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: epoch, best value, progress or optimizer state do not fit this run ({one_line(error)}); start again"
        ) from error
    return progress


def _restore_within_epoch(progress: Progress, saved: dict, learner: Learner, batches: MixedBatches, path: Path) -> None:
    steps, sums = saved["steps"], saved["sums"]
    if type(steps) is not int or steps < 1 or sums.shape != (len(LOSSES),) or not torch.isfinite(sums).all():
        raise ValueError("steps or losses of the epoch under way")
    if saved["order"] != batches.order.identity or steps > len(batches):
        raise InputError(
            f"{path}: was saved within an epoch of other batches; give --batch_size, --steps_per_epoch, --seed and the lists "
            "as they were"
        )
    learner.bank.load_state_dict(saved["bank"])
    progress.steps, progress.sums = steps, sums.to(learner.device)


def _others_beside(folder: Path) -> str:
    others = list_runs(folder.parent)
    return f" (runs there: {', '.join(others)})" if others else ""


def _say_what_changed(before: object, options: argparse.Namespace) -> None:
    now = options_as_text(options)
    if isinstance(before, dict):
        plain = (str, int, float, type(None))
        known = {name: value for name, value in before.items() if isinstance(value, plain) and str(value).isprintable()}
        changed = [f"{name} {known[name]} → {now[name]}" for name in now if name in known and known[name] != now[name]]
        changed = [change for change in changed if change.split()[0] not in UNIMPORTANT]
        if changed:
            print(f"note: differs from the run so far: {', '.join(changed)}")


def _restore_optimizer(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """Moments from the file; settings from this run's options, which a file from elsewhere may not even have."""
    settings = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
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


@dataclass
class Checkpointer:
    """Writes a run's checkpoints; in a team, its first process does. `begin` is called once, before the first is written."""

    folder: Path
    learner: Learner
    optimizer: torch.optim.Optimizer
    begin: Callable[[], None]
    batches: MixedBatches
    minutes: float  # between two checkpoints within an epoch; 0: none
    _saved_at: float = field(default_factory=time.monotonic)
    _has_begun: bool = False

    def is_due(self) -> bool:
        """Whether so much time has passed that the state should be saved."""
        return 0 < self.minutes * 60 <= time.monotonic() - self._saved_at

    def save(self, progress: Progress) -> None:
        """Write the state as it is, within an epoch or after it."""
        self._write(LAST, progress, previous=self.folder / PREVIOUS)
        self._saved_at = time.monotonic()

    def keep(self, progress: Progress, value: float) -> None:
        """Write the last checkpoint, and the best one if the validation's `value` is the best so far, or the first."""
        self.begin_once()
        is_best = value > progress.best or not (self.folder / BEST).exists()
        progress.best = max(progress.best, value)
        if is_best:
            self._write(BEST, progress)  # the last knows the best value, so the best must be there first
        self.save(progress)

    def keep_not_finite(self, progress: Progress, step: int, losses: dict[str, float], files: list[str]) -> None:
        """The state in which a loss stopped being finite, and what it happened on, for whoever wants to know why."""
        self._write(NOT_FINITE, progress)
        if self.learner.distributed.is_main:
            record = {"epoch": progress.epochs + 1, "step": step, "mean_losses": {k: str(v) for k, v in losses.items()}}
            with atomic_write(self.folder / "not_finite.json") as temporary:
                temporary.write_text(json.dumps({**record, "files": files}, indent=2) + "\n")

    def _write(self, name: str, progress: Progress, previous: Path | None = None) -> None:
        if not self.learner.distributed.is_main:
            return
        self.begin_once()
        within = {} if progress.steps == 0 else {"progress": self._within_epoch(progress)}
        write_checkpoint(
            self.folder / name,
            epoch=progress.epochs,
            arch=self.learner.options.arch,
            state=self.learner.student.state_dict(),
            best=progress.best,
            optimizer=self.optimizer.state_dict(),
            options=options_as_text(self.learner.options),
            random_state=random_state(self.learner.device),
            previous=previous,
            **within,
        )

    def begin_once(self) -> None:
        """Make room for what is to be written, if that is still to be done."""
        if self.learner.distributed.is_main and not self._has_begun:
            self.begin()
        self._has_begun = True

    def _within_epoch(self, progress: Progress) -> dict:
        return {
            "steps": progress.steps,
            "sums": progress.sums.cpu(),
            "bank": self.learner.bank.state_dict(),
            "order": self.batches.order.identity,
        }


def archive_previous_run(folder: Path, is_new: bool) -> None:
    """Remove what killed processes left half-written, and move an earlier run's files aside if this is not its continuation."""
    for name in (LAST, PREVIOUS, BEST, NOT_FINITE):
        remove_unfinished(folder / name)
    kept = archive_files(folder) if is_new else None
    (folder / NEW_RUN).unlink(missing_ok=True)
    if kept:
        print(f"what an earlier run left here is kept in {kept}")
