"""BatchNorm with the statistics of the whole batch, whichever process holds which part of it."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def synchronise_batchnorm(network: nn.Module, device: torch.device) -> nn.Module:
    """Synchronise each BatchNorm of a network for `device`, in place: parameters, hooks and state-dict keys stay.

    On a GPU this is PyTorch's SyncBatchNorm, which does not run on a CPU.
    """
    synchronised = SynchronisedBatchNorm if device.type == "cpu" else FusedSynchronisedBatchNorm
    for layer in network.modules():
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            layer.__class__ = synchronised
    return network


def _then_children(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply the child modules in their order: dropout and activation of timm's BatchNormAct2d."""
    for part in layer.children():
        x = part(x)
    return x


class FusedSynchronisedBatchNorm(nn.SyncBatchNorm):
    """PyTorch's own, for GPUs, with the layer's child modules.

    In each training pass the host waits once for the device, because PyTorch counts the processes that have images.
    """

    process_group = None  # all processes

    def forward(self, x: Tensor) -> Tensor:
        return _then_children(self, super().forward(x))


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """In train mode, normalises (B, C) or (B, C, …) by the mean and variance over all processes, whose B may differ."""

    def forward(self, x: Tensor) -> Tensor:
        return _then_children(self, self._normalised_over_all(x) if self.training else super().forward(x))

    def _check_input_dim(self, input: Tensor) -> None:
        """PyTorch's check admits four dimensions only."""

    def _normalised_over_all(self, x: Tensor) -> Tensor:
        count, mean, variance = _statistics_of_all(x.detach())
        self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
        self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var), self.momentum)
        self.num_batches_tracked += 1
        return _Normalised.apply(x, self.weight, self.bias, mean, torch.rsqrt(variance + self.eps), count)


def _wide(x: Tensor) -> Tensor:
    """In float32 if the precision is lower."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _without_channels(x: Tensor) -> list[int]:
    """All axes of (B, C, …) but that of the channels."""
    return [0, *range(2, x.ndim)]


def _of_channels(values: Tensor, x: Tensor) -> Tensor:
    """(C,) in the precision of `_wide(x)`, to be combined with x (B, C, …)."""
    return values.to(_wide(x).dtype).view(-1, *[1] * (x.ndim - 2))


def _statistics_of_all(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Over all processes: number of values of one channel (1,), their mean and their biased variance (C,); float64."""
    channels = x.shape[1]
    variance, mean = torch.var_mean(_wide(x), _without_channels(x), correction=0)
    count = torch.full((1,), x.numel() / channels, dtype=torch.float64, device=x.device)
    local = torch.cat([mean.double(), variance.double(), count])
    gathered = [torch.empty_like(local) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, local)
    means, variances, counts = torch.stack(gathered).split([channels, channels, 1], dim=1)
    share = counts / counts.sum()
    mean = (share * means).sum(0)
    return counts.sum(0), mean, (share * (variances + (means - mean).square())).sum(0)


class _Normalised(torch.autograd.Function):
    """(x − mean) / deviation · weight + bias; the gradient takes mean and deviation as functions of the x of all processes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, inverse_std: Tensor, count: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, mean, inverse_std, count)
        mean, scale, bias = (_of_channels(value, x) for value in (mean, inverse_std * weight, bias))
        return ((_wide(x) - mean) * scale + bias).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse_std, count = ctx.saved_tensors
        wide, axes = _wide(x), _without_channels(x)
        mean, inverse_std, scale = (_of_channels(value, x) for value in (mean, inverse_std, inverse_std * weight))
        normalised, gradient = (wide - mean) * inverse_std, gradient.to(wide.dtype)
        weight_gradient, bias_gradient = (gradient * normalised).sum(axes), gradient.sum(axes)
        sums = torch.stack([weight_gradient, bias_gradient]).double()
        dist.all_reduce(sums)
        along, level = (_of_channels(value, x) for value in sums / count)
        x_gradient = ((gradient - level - normalised * along) * scale).to(x.dtype)
        return x_gradient, weight_gradient.to(weight.dtype), bias_gradient.to(weight.dtype), None, None, None
