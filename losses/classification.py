"""Cross-entropy of the class head over the base views of sketches and photos alike.

L = mean over the batch of −log softmax(logits)[label]            (SAKE, Liu et al. ICCV 2019)
"""

import torch
import torch.nn.functional as F


def classification_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """logits (B, classes), labels (B,) int64 in [0, classes) → scalar."""
    return F.cross_entropy(logits.float(), labels)


def distance_margin_loss(logits: torch.Tensor, labels: torch.Tensor, margin: float) -> torch.Tensor:
    """Cross-entropy after the true class's logit, which is minus a distance, is multiplied by `margin` ≥ 1.

    logits (B, classes), labels (B,) int64 → scalar. A larger margin makes the true centre look farther than it is, so the
    embedding must come closer still (the released code's `--ems-loss`).
    """
    logits = logits.float()
    is_true_class = F.one_hot(labels, logits.shape[1]).bool()
    return F.cross_entropy(torch.where(is_true_class, logits * margin, logits), labels)


def margin_at(epoch: int) -> float:
    """1 to begin with, doubled as epoch 20 starts and again as epoch 25 starts (epochs count from 0)."""
    return 2.0 ** sum(epoch >= doubling for doubling in (20, 25))
