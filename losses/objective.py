"""The four losses of DSN's objective by name, and their weighted sum."""

from dataclasses import dataclass
from typing import NamedTuple

import torch


class Losses(NamedTuple):
    """Unweighted losses of one step; a loss that is switched off is zero."""

    classification: torch.Tensor
    distillation: torch.Tensor
    contrastive: torch.Tensor
    memory: torch.Tensor


@dataclass(frozen=True)
class Weights:
    """Weight of each loss (`--cls_lambda`, `--sake_lambda`, `--contrastive_lambda`, `--memory_lambda`)."""

    classification: float = 1.0
    distillation: float = 1.0
    contrastive: float = 0.1
    memory: float = 1.0

    def total(self, losses: Losses) -> torch.Tensor:
        """The scalar that is minimised (DSN, Wang et al. IJCAI 2021)."""
        return (
            self.classification * losses.classification
            + self.distillation * losses.distillation
            + self.contrastive * losses.contrastive
            + self.memory * losses.memory
        )
