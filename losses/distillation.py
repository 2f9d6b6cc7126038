"""Distillation of the teacher's ImageNet predictions for photos (SAKE, Liu et al. ICCV 2019).

target = softmax(kd_lambda · teacher logits + kdneg_lambda · semantic mask of the photo's class)
L      = mean over photos of −Σ target · log softmax(student's teacher-space logits)

Sketches are left out: the teacher was not trained on any.
"""

import torch
import torch.nn.functional as F


def distillation_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    semantic_mask: torch.Tensor,
    kd_lambda: float = 1.0,
    kdneg_lambda: float = 0.3,
) -> torch.Tensor:
    """Three tensors (photos, teacher classes), `semantic_mask` in [0, 1] → scalar. No gradient reaches the teacher."""
    target = torch.softmax(kd_lambda * teacher_logits.detach().float() + kdneg_lambda * semantic_mask, dim=1)
    return F.cross_entropy(student_logits.float(), target)
