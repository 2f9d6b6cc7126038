"""How far a training run has come."""

from dataclasses import dataclass

import torch

from losses.objective import Losses

LOSSES = (*Losses._fields, "total")


@dataclass
class TrainingState:
    """Finished epochs, finished steps of the current epoch with the sums (5,) of their losses, and the best validation mAP.

    `sums` stays on the device, so that no step waits for it; it is None before the first step of an epoch. `compiled`: whether
    the steps are computed by compiled code; None if nothing is known yet.
    """

    epochs: int = 0
    steps: int = 0
    sums: torch.Tensor | None = None
    best: float = 0.0
    compiled: bool | None = None

    def add(self, losses: torch.Tensor) -> None:
        """Count one step with these losses (5,)."""
        self.steps += 1
        self.sums = losses.clone() if self.sums is None else self.sums + losses

    def mean_losses(self) -> dict[str, float]:
        """Mean losses of the current epoch by name; waits for the device."""
        return {} if self.sums is None else dict(zip(LOSSES, (self.sums / self.steps).tolist(), strict=True))

    def finish_epoch(self) -> None:
        """Count the current epoch as finished."""
        self.epochs, self.steps, self.sums = self.epochs + 1, 0, None

    def __str__(self) -> str:
        return f"{self.epochs} epochs" + (f" and {self.steps} steps" if self.steps else "")
