"""Detection of losses and weights that are not finite."""

import math

import torch

from training.state import TrainingState


class NotFinite(Exception):
    """A loss or a weight is not finite."""


class NonFiniteGuard:
    """Records, on the device, the first step whose losses are not finite, so that no step waits for the device.

    From that step on a fused optimizer changes nothing: when the losses are next read, weights and moments are those
    before that step (BatchNorm statistics and memory bank are not).
    """

    def __init__(self, device: torch.device):
        self._step = torch.full((), torch.inf, device=device)

    def block_update_if_not_finite(self, losses: torch.Tensor, step: int, optimizer: torch.optim.Optimizer) -> None:
        """Check the losses (n,) of a step; call it after `backward` and before `optimizer.step`."""
        is_first = self._step.isinf() & ~torch.isfinite(losses).all()
        self._step = torch.where(is_first, float(step), self._step)
        if optimizer.defaults.get("fused"):
            optimizer.found_inf = torch.isfinite(self._step).float()  # type: ignore[attr-defined]  # as torch.amp.GradScaler sets it

    def first_bad_step(self) -> int:
        """The number of the first step whose losses are not finite, or 0; waits for the device."""
        step = self._step.item()
        return int(step) if step < torch.inf else 0


def finite_mean_losses(state: TrainingState) -> dict[str, float]:
    """The mean losses of the current epoch by name; waits for the device. Raises NotFinite if one is not finite."""
    means = state.mean_losses()
    if not all(map(math.isfinite, means.values())):
        raise NotFinite
    return means


def require_finite_weights(student: torch.nn.Module) -> None:
    """Raise NotFinite if a weight is not finite; waits for the device."""
    norms = torch.stack(torch._foreach_norm([parameter.detach() for parameter in student.parameters()]))
    if not torch.isfinite(norms).all():
        raise NotFinite
