"""How far a training run has come."""

from dataclasses import dataclass

import torch

from losses.objective import Terms

LOSSES = (*Terms._fields, "total")


@dataclass
class Progress:
    """Whole epochs; of the one under way the steps, and the sums (5,) of their losses and weighted total; the best validation.

    `sums` is on the device, so that no step waits for a number, and None before the first step of an epoch.
    """

    epochs: int = 0
    steps: int = 0
    sums: torch.Tensor | None = None
    best: float = 0.0

    def add(self, losses: torch.Tensor) -> None:
        """Count a step with these (5,) losses."""
        self.steps += 1
        self.sums = losses.clone() if self.sums is None else self.sums + losses

    def means(self) -> dict[str, float]:
        """The mean losses of the epoch so far, by name; waits for the device."""
        return dict(zip(LOSSES, (self.sums / self.steps).tolist(), strict=True))

    def close_epoch(self) -> None:
        """The epoch under way is whole."""
        self.epochs, self.steps, self.sums = self.epochs + 1, 0, None

    def __str__(self) -> str:
        return f"{self.epochs} epochs" + (f" and {self.steps} steps" if self.steps else "")
