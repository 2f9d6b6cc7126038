"""Classification of the seen classes, on the base views of all sketches and photos (SAKE, Liu et al. ICCV 2019).

L = mean over the batch of −log softmax(logits)[label]
"""

import torch
import torch.nn.functional as F


def classification_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """logits (B, classes), labels (B,) int64 in [0, classes) → scalar."""
    return F.cross_entropy(logits.float(), labels)


def distance_margin_loss(logits: torch.Tensor, labels: torch.Tensor, margin: float) -> torch.Tensor:
    """Cross-entropy after multiplying the logit of the true class, a negative distance, by `margin` ≥ 1.

    logits (B, classes) ≤ 0, labels (B,) int64 → scalar. The margin makes the distance to the true centre count more, so that the
    embedding must come closer (`--ems-loss` of the released code).
    """
    logits = logits.float()
    is_true_class = F.one_hot(labels, logits.shape[1]).bool()
    return F.cross_entropy(torch.where(is_true_class, logits * margin, logits), labels)


def margin_at(epoch: int) -> float:
    """1, from epoch 20 on 2, and from epoch 25 on 4 (epochs count from 0)."""
    return 2.0 ** sum(epoch >= doubling for doubling in (20, 25))
