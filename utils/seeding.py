"""Randomness that depends on the seed and the place in the run alone, so that a resumed run needs no generator's history."""

import random

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's global generators (weight initialisation is all that uses them)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def generator_for(*place: int) -> np.random.Generator:
    """A NumPy generator of its own for, say, (seed, purpose, epoch, step)."""
    return np.random.default_rng(place)


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """PyTorch's global generators, for a checkpoint; batches and views need none (see `generator_for`)."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: dict[str, torch.Tensor] | None, device: torch.device) -> None:
    """Undo `random_state`; a checkpoint from elsewhere has none, which is no fault."""
    if state is None:
        return
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
