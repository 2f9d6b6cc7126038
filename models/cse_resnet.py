"""CSE-ResNet-50: an SE-ResNet-50 whose channel attention depends on the domain (sketch or photo) of its input.

Trunk: Hu et al., "Squeeze-and-Excitation Networks" (CVPR 2018), as released for Caffe. Conditional attention: Liu et al.,
"Semantic-Aware Knowledge Preservation for Zero-Shot Sketch-Based Image Retrieval" (SAKE, ICCV 2019). Parameter names are
those of the published weights (timm's `legacy_seresnet50`; see `models.pretrained`).
"""

import torch
import torch.nn.functional as F
from torch import nn

from datasets.preprocessing import Preprocessing
from models.names import CSE_RESNET50
from models.trunk import Trunk

FEATURE_DIM = 2048
IMAGE_SIZE = 224  # where neither an option nor a checkpoint states one


class ConditionalSE(nn.Module):
    """Channel attention: mean over H, W → Linear(C, C/r) → ReLU → append domain → Linear(C/r + 1, C) → sigmoid → scale x."""

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        squeezed = channels // reduction
        self.fc1 = nn.Linear(channels, squeezed)
        self.fc2 = nn.Linear(squeezed + 1, channels)

    def forward(self, x: torch.Tensor, domain: torch.Tensor) -> torch.Tensor:
        """x (B, C, H, W), domain (B, 1) → (B, C, H, W)."""
        squeezed = torch.relu(self.fc1(x.mean((2, 3))))
        excited = torch.sigmoid(self.fc2(torch.cat([squeezed, domain.to(squeezed.dtype)], dim=1)))
        return x * excited[:, :, None, None]

    def train_domain_column(self) -> None:
        """Train the column of the domain, and nothing else of the matrix that it is part of."""
        weight = self.fc2.weight.requires_grad_(True)
        weight.register_hook(lambda gradient: F.pad(gradient[:, -1:], (gradient.shape[1] - 1, 0)))
        weight.no_weight_decay = True  # type: ignore[attr-defined]  # it would shrink the other columns; see `training.build.adam`


class CSEBottleneck(nn.Module):
    """1×1 (with the stride, as in Caffe) → 3×3 → 1×1 convolution, attention, residual sum."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int = 1, downsample: nn.Module | None = None):
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, 1, stride=stride, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.se_module = ConditionalSE(out_channels)
        self.downsample = downsample

    def forward(self, x: torch.Tensor, domain: torch.Tensor) -> torch.Tensor:
        residual = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(self.se_module(out, domain) + residual)


class Stage(nn.Sequential):
    """A sequence of bottlenecks, each of which receives the domain."""

    def forward(self, x: torch.Tensor, domain: torch.Tensor) -> torch.Tensor:
        for block in self:
            x = block(x, domain)
        return x


class CSEResNet50(Trunk):
    """The trunk: images of at least 32 px and their domains → 2048-d pooled features.

    Without a domain tag, the attention's column for the domain stays zero.
    """

    arch, feature_dim, takes_any_size = CSE_RESNET50, FEATURE_DIM, True
    preprocessing = Preprocessing(IMAGE_SIZE)

    def __init__(self, domain_tag: bool = True) -> None:
        super().__init__()
        self.has_domain_tag = domain_tag
        self.layer0 = nn.Sequential()
        self.layer0.add_module("conv1", nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False))
        self.layer0.add_module("bn1", nn.BatchNorm2d(64))
        self.layer0.add_module("relu1", nn.ReLU(inplace=True))
        self.layer0.add_module("pool", nn.MaxPool2d(3, stride=2, ceil_mode=True))
        self.layer1 = _stage(64, 64, blocks=3, stride=1)
        self.layer2 = _stage(256, 128, blocks=4, stride=2)
        self.layer3 = _stage(512, 256, blocks=6, stride=2)
        self.layer4 = _stage(1024, 512, blocks=3, stride=2)
        if not domain_tag:
            for attention in self._attentions():
                nn.init.zeros_(attention.fc2.weight.detach()[:, -1])

    def features(self, images: torch.Tensor, domain: torch.Tensor) -> torch.Tensor:
        """images (B, 3, H, W) normalised, domain (B,) of SKETCH or PHOTO → (B, 2048), the mean over the last feature map."""
        x = self.layer0(images)
        domain = domain if self.has_domain_tag else torch.zeros_like(domain)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x, domain.reshape(-1, 1))
        return x.mean((2, 3))

    def train_domain_tag(self) -> None:
        for attention in self._attentions():
            attention.train_domain_column()

    def _attentions(self) -> list[ConditionalSE]:
        return [module for module in self.modules() if isinstance(module, ConditionalSE)]


def _stage(in_channels: int, width: int, blocks: int, stride: int) -> Stage:
    out_channels = width * CSEBottleneck.expansion
    downsample = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels))
    first = CSEBottleneck(in_channels, width, stride, downsample)
    return Stage(first, *(CSEBottleneck(out_channels, width) for _ in range(blocks - 1)))
