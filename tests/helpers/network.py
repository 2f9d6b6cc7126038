"""Weights and checkpoints of untrained networks."""

import torch
from torch import nn

from models.dsn import Student, Teacher


def seresnet_state(classes: int = 12, seed: int = 0) -> dict[str, torch.Tensor]:
    """What timm's legacy_seresnet50 or the original file holds: attention as 1×1 convolutions, no tag column."""
    torch.manual_seed(seed)
    state = Teacher(classes).state_dict()
    for key in list(state):
        if "fc2.weight" in key:
            state[key] = state[key][:, :-1, None, None].clone()
        elif "fc1.weight" in key:
            state[key] = state[key][:, :, None, None].clone()
        elif key.endswith("num_batches_tracked"):
            del state[key]
    return state


def write_checkpoint(path, seed=0):
    """As a training run at 32 px leaves it, with a 16-d embedding."""
    torch.manual_seed(seed)
    model = nn.Module()
    model.module = Student(16, 3)
    content = {"epoch": 1, "state_dict": model.state_dict(), "best_acc1": 0.5, "options": {"image_size": 32}}
    torch.save(content, path)
    return path
