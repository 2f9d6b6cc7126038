"""Cross-modal contrastive loss: supervised contrastive learning over sketches and photos together.

z are the L2-normalised features of the 2B contrast views; P(i) are the other views of the class of i, from both domains.

L_i = −1/|P(i)| Σ_{p ∈ P(i)} log( exp(z_i·z_p / τ) / Σ_{a ≠ i} exp(z_i·z_a / τ) ),     L = τ/τ₀ · mean over i of L_i

This is L_out of Khosla et al., "Supervised Contrastive Learning" (NeurIPS 2020, eq. 2) with base temperature τ₀ = 0.07, which
DSN (Wang et al. IJCAI 2021) uses across domains. A view is masked as its own positive and in its own denominator; the other
view of the same image is always a positive, so |P(i)| ≥ 1.
"""

import torch

BASE_TEMPERATURE = 0.07


def contrastive_loss(features: torch.Tensor, labels: torch.Tensor, temperature: float = 0.07) -> torch.Tensor:
    """features (B, 2, d), each of unit length; labels (B,) int64; temperature > 0 → scalar."""
    views = features.float().transpose(0, 1).flatten(0, 1)  # (2B, d)
    labels = labels.repeat(features.shape[1])
    similarity = views @ views.T / temperature
    itself = torch.eye(len(views), dtype=torch.bool, device=views.device)
    positive = (labels[:, None] == labels[None, :]) & ~itself
    log_probability = similarity - similarity.masked_fill(itself, -torch.inf).logsumexp(dim=1, keepdim=True)
    per_anchor = (log_probability * positive).sum(1) / positive.sum(1)
    return -(temperature / BASE_TEMPERATURE) * per_anchor.mean()
