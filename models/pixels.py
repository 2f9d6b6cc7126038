"""An embedding network with its normalisation inside: pixels and domains → unit vectors. Engines and exported files run this."""

import torch
import torch.nn.functional as F
from torch import nn

from datasets.views import normalisation
from models.embedding import EmbeddingNetwork
from models.names import SKETCH


class PixelNetwork(nn.Module):
    """`network` behind its own normalisation."""

    slope: torch.Tensor
    offset: torch.Tensor

    def __init__(self, network: EmbeddingNetwork):
        super().__init__()
        self.network = network
        # computed inside a trace, they would tie an exported file to one device
        slope, offset = normalisation(network.preprocessing.mean, network.preprocessing.std, full_scale=255.0)
        self.register_buffer("slope", slope)  # (3, 1, 1), as the offset
        self.register_buffer("offset", offset)

    def forward(self, images: torch.Tensor, domain: torch.Tensor) -> torch.Tensor:
        """images (B, 3, H, W) uint8 RGB, domain (B,) of SKETCH or PHOTO → (B, d) float32, L2-normalised."""
        return self.network.embed(torch.addcmul(self.offset, images.float(), self.slope), domain)

    def example(self, count: int = 2, first_domain: float = SKETCH) -> tuple[torch.Tensor, torch.Tensor]:
        """Seeded images (count, 3, S, S) uint8, and alternating domains (count,), on the network's device."""
        side = self.network.preprocessing.image_size
        colours = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(count))
        images = F.interpolate(colours, (side, side), mode="bilinear").mul(255).round().byte()
        domain = (torch.arange(count) + first_domain) % 2
        return images.to(self.slope.device), domain.to(self.slope.device)
