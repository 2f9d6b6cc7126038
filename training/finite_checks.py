"""Noticing a loss that is not finite without waiting for the device in every step."""

import torch


class NonFiniteGuard:
    """The first step whose losses were not finite, kept on the device.

    From that step on a fused optimizer changes nothing any more: when the losses are next read, weights and moments are those
    the step began with (BatchNorm's statistics and the memory bank are not).
    """

    def __init__(self, device: torch.device):
        self._step = torch.full((), torch.inf, device=device)

    def watch(self, losses: torch.Tensor, step: int, optimizer: torch.optim.Optimizer) -> None:
        """Between the backward pass of a step and the optimizer's; `losses` is (n,)."""
        is_first = self._step.isinf() & ~torch.isfinite(losses).all()
        self._step = torch.where(is_first, float(step), self._step)
        if optimizer.defaults.get("fused"):
            optimizer.found_inf = torch.isfinite(self._step).float()  # what torch.amp.GradScaler tells it by

    def step(self) -> int:
        """The step's number, or 0 if there was none; waits for the device."""
        step = self._step.item()
        return int(step) if step < torch.inf else 0
