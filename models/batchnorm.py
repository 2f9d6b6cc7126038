"""BatchNorm whose statistics are those of the whole batch, whichever process holds which part of it."""

import torch
import torch.distributed as dist
from torch import nn


def synchronise_batchnorm(network: nn.Module) -> nn.Module:
    """Replace every BatchNorm of `network`, keys and values kept.

    Not by PyTorch's SyncBatchNorm: that one knows no CPU, and on a GPU its host waits for the device in every layer.
    """
    for name, child in network.named_children():
        if isinstance(child, nn.BatchNorm2d):
            twin = SynchronisedBatchNorm(child.num_features, child.eps, child.momentum).to(child.weight)
            twin.load_state_dict(child.state_dict())
            for own, given in zip(twin.parameters(), child.parameters(), strict=True):
                own.requires_grad_(given.requires_grad)
            setattr(network, name, twin.train(child.training))
        else:
            synchronise_batchnorm(child)
    return network


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """In train mode the mean and variance of all processes' (B, C, H, W), which may differ in B."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(x)
        count, mean, variance = _statistics_of_all(x.detach())
        self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
        self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var), self.momentum)
        self.num_batches_tracked += 1
        return _Normalised.apply(x, self.weight, self.bias, mean, torch.rsqrt(variance + self.eps), count)


def _wide(x: torch.Tensor) -> torch.Tensor:
    """In a precision to compute in: bfloat16 is for storing."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _statistics_of_all(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """How many values a channel has in all processes, (1,), and their mean and biased variance, each (C,); float64."""
    channels = x.shape[1]
    variance, mean = torch.var_mean(_wide(x), (0, 2, 3), correction=0)
    count = torch.full((1,), x.numel() / channels, dtype=torch.float64, device=x.device)
    own = torch.cat([mean.double(), variance.double(), count])
    gathered = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, own)
    means, variances, counts = torch.stack(gathered).split([channels, channels, 1], dim=1)
    share = counts / counts.sum()
    mean = (share * means).sum(0)
    return counts.sum(0), mean, (share * (variances + (means - mean).square())).sum(0)


class _Normalised(torch.autograd.Function):
    """(x − mean) / deviation · weight + bias, its gradient with mean and deviation as functions of all processes' x."""

    @staticmethod
    def forward(ctx, x, weight, bias, mean, inverse_deviation, count):
        ctx.save_for_backward(x, weight, mean, inverse_deviation, count)
        mean, scale, bias = (value.to(_wide(x).dtype)[:, None, None] for value in (mean, inverse_deviation * weight, bias))
        return ((_wide(x) - mean) * scale + bias).to(x.dtype)

    @staticmethod
    def backward(ctx, gradient):
        x, weight, mean, inverse_deviation, count = ctx.saved_tensors
        wide = _wide(x)
        per_channel = (value.to(wide.dtype)[:, None, None] for value in (mean, inverse_deviation, inverse_deviation * weight))
        mean, inverse_deviation, scale = per_channel
        normalised, gradient = (wide - mean) * inverse_deviation, gradient.to(wide.dtype)
        for_weight, for_bias = (gradient * normalised).sum((0, 2, 3)), gradient.sum((0, 2, 3))
        sums = torch.stack([for_weight, for_bias]).double()
        dist.all_reduce(sums)
        along, level = (sums / count).to(wide.dtype)[:, :, None, None]
        for_x = ((gradient - level - normalised * along) * scale).to(x.dtype)
        return for_x, for_weight.to(weight.dtype), for_bias.to(weight.dtype), None, None, None
