"""BatchNorm with the statistics of the whole batch, whichever process holds which part of it."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def synchronise_batchnorm(network: nn.Module) -> nn.Module:
    """Replace each BatchNorm of `network`; state-dict keys and values stay.

    PyTorch's SyncBatchNorm does not run on the CPU, and on a GPU it makes the host wait for the device in every layer.
    """
    for name, child in network.named_children():
        if isinstance(child, nn.BatchNorm2d):
            twin = SynchronisedBatchNorm(child.num_features, child.eps, child.momentum).to(child.weight)
            twin.load_state_dict(child.state_dict())
            for new, old in zip(twin.parameters(), child.parameters(), strict=True):
                new.requires_grad_(old.requires_grad)
            setattr(network, name, twin.train(child.training))
        else:
            synchronise_batchnorm(child)
    return network


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """In train mode, normalises (B, C, H, W) by the mean and variance over all processes, whose B may differ."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        count, mean, variance = _statistics_of_all(x.detach())
        self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
        self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var), self.momentum)
        self.num_batches_tracked += 1
        return _Normalised.apply(x, self.weight, self.bias, mean, torch.rsqrt(variance + self.eps), count)


def _wide(x: Tensor) -> Tensor:
    """In float32 if the precision is lower."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _statistics_of_all(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Over all processes: number of values of one channel (1,), their mean and their biased variance (C,); float64."""
    channels = x.shape[1]
    variance, mean = torch.var_mean(_wide(x), (0, 2, 3), correction=0)
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
        mean, scale, bias = (value.to(_wide(x).dtype)[:, None, None] for value in (mean, inverse_std * weight, bias))
        return ((_wide(x) - mean) * scale + bias).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse_std, count = ctx.saved_tensors
        wide = _wide(x)
        per_channel = (value.to(wide.dtype)[:, None, None] for value in (mean, inverse_std, inverse_std * weight))
        mean, inverse_std, scale = per_channel
        normalised, gradient = (wide - mean) * inverse_std, gradient.to(wide.dtype)
        weight_gradient, bias_gradient = (gradient * normalised).sum((0, 2, 3)), gradient.sum((0, 2, 3))
        sums = torch.stack([weight_gradient, bias_gradient]).double()
        dist.all_reduce(sums)
        along, level = (sums / count).to(wide.dtype)[:, :, None, None]
        x_gradient = ((gradient - level - normalised * along) * scale).to(x.dtype)
        return x_gradient, weight_gradient.to(weight.dtype), bias_gradient.to(weight.dtype), None, None, None
