"""A run's checkpoints: written after each epoch, taken up again by `--resume`."""

import argparse
import math
from pathlib import Path

import torch

from engine.step import Learner
from utils.checkpoints import load_state, read_checkpoint, write_checkpoint
from utils.errors import InputError
from utils.runs import BEST, LAST, keep_previous, options_as_text
from utils.seeding import random_state, restore_random_state

MOMENTS = ("exp_avg", "exp_avg_sq")  # what Adam keeps of a parameter it has moved


def resume(path: Path, learner: Learner, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    """Take up weights, moments and generators; (epochs done, best validation value). Raises InputError if they do not fit."""
    content = read_checkpoint(path, option="--resume")
    ignored = load_state(learner.student, content["state_dict"], path)
    if ignored:
        print(f"{path}: ignoring keys this network has no place for: {', '.join(ignored)}")
    try:
        epoch, best = content["epoch"], float(content["best_acc1"])
        if not math.isfinite(best):
            raise ValueError("best value not finite")
        if content.get("optimizer") is not None:
            _restore_optimizer(optimizer, content["optimizer"])
        restore_random_state(content.get("random_state"), learner.device)
    except (AttributeError, IndexError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{path}: epoch, best value or optimizer state do not fit this run ({error}); start anew") from error
    print(f"resuming after {epoch} epochs from {path}")
    _say_what_changed(content.get("options"), learner.options)
    return epoch, best


def _say_what_changed(before: object, options: argparse.Namespace) -> None:
    unimportant = {
        "resume",
        "evaluate",
        "savedir",
        "device",
        "num_workers",
        "print_freq",
        "data_root",
        "cache",
        "cache_dir",
        "profile",
    }
    now = options_as_text(options)
    if isinstance(before, dict):
        plain = (str, int, float, type(None))
        known = {name: value for name, value in before.items() if isinstance(value, plain) and str(value).isprintable()}
        changed = [f"{name} {known[name]} → {now[name]}" for name in now if name in known and known[name] != now[name]]
        changed = [change for change in changed if change.split()[0] not in unimportant]
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


def save(folder: Path, epoch: int, learner: Learner, optimizer, best: float, value: float) -> float:
    """Write the last checkpoint, and the best one if `value` beats `best` (or is the first); the best value so far."""
    is_best = value > best or not (folder / BEST).exists()
    for name in (BEST, LAST) if is_best else (LAST,):  # the last knows the best value, so the best must be there first
        write_checkpoint(
            folder / name,
            epoch=epoch,
            arch=learner.options.arch,
            state=learner.student.state_dict(),
            best=max(best, value),
            optimizer=optimizer.state_dict(),
            options=options_as_text(learner.options),
            random_state=random_state(learner.device),
        )
    return max(best, value)


def step_aside(folder: Path) -> None:
    """Move what an earlier run left out of the way; called when there is something to take its place, not before."""
    kept = keep_previous(folder)
    if kept:
        print(f"what an earlier run left here is kept in {kept}")
