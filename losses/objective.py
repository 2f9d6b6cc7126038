"""The four terms of DSN's objective by name, and the one line that weighs them."""

from dataclasses import dataclass
from typing import NamedTuple

import torch


class Terms(NamedTuple):
    """Unweighted losses of one step; a term that is switched off is zero."""

    classification: torch.Tensor
    distillation: torch.Tensor
    contrastive: torch.Tensor
    memory: torch.Tensor


@dataclass(frozen=True)
class Weights:
    """How much each term counts (`--cls_lambda`, `--sake_lambda`, `--contrastive_lambda`, `--memory_lambda`)."""

    classification: float = 1.0
    distillation: float = 1.0
    contrastive: float = 0.1
    memory: float = 1.0

    def total(self, terms: Terms) -> torch.Tensor:
        """The scalar that is minimised (DSN, Wang et al. IJCAI 2021)."""
        return (
            self.classification * terms.classification
            + self.distillation * terms.distillation
            + self.contrastive * terms.contrastive
            + self.memory * terms.memory
        )
