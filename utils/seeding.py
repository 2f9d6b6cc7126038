"""Random generators that depend only on the seed and the position in the run, so that resuming needs no generator state."""

import random

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's global generators; only weight initialisation uses them."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def generator_for(*place: int) -> np.random.Generator:
    """A NumPy generator seeded with, for example, (seed, purpose, epoch, step)."""
    return np.random.default_rng(place)


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """State of PyTorch's global generators, for a checkpoint."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: dict[str, torch.Tensor] | None, device: torch.device) -> None:
    """Restore what `random_state` returned; None, from a checkpoint without it, changes nothing."""
    if state is None:
        return
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
