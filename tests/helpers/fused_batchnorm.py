"""PyTorch's SyncBatchNorm in each of several processes: python -m tests.helpers.fused_batchnorm.

PyTorch has its kernels for GPUs only. Without a GPU they are replaced by plain operations here; PyTorch's own code calls them and
sends their results. Each process compares its part with the whole batch in one process; it fails if they differ.
"""

import copy

import timm
import torch
import torch.distributed as dist
from torch import Tensor, nn

from models.batchnorm import synchronise_batchnorm
from utils.distributed import Distributed, init_distributed

COUNT = 5  # images, so that two processes have different numbers of them


def axes(x: Tensor) -> list[int]:
    return [0, *range(2, x.ndim)]


def wide(values: Tensor, x: Tensor) -> Tensor:
    return values.view(-1, *[1] * (x.ndim - 2))


def batch_norm_stats(x, eps):
    variance, mean = torch.var_mean(x, axes(x), correction=0)
    return mean, torch.rsqrt(variance + eps)


def batch_norm_gather_stats_with_counts(x, mean, invstd, running_mean, running_var, momentum, eps, counts):
    share, total = (counts / counts.sum())[:, None], counts.sum()
    whole = (share * mean).sum(0)
    variance = (share * (invstd**-2 - eps + (mean - whole) ** 2)).sum(0)
    running_mean.lerp_(whole, momentum)
    running_var.lerp_(variance * total / (total - 1), momentum)
    return whole, torch.rsqrt(variance + eps)


def batch_norm_elemt(x, weight, bias, mean, invstd, eps):
    return (x - wide(mean, x)) * wide(invstd * weight, x) + wide(bias, x)


def batch_norm_backward_reduce(gradient, x, mean, invstd, weight, *needed):
    level, along = gradient.sum(axes(x)), (gradient * (x - wide(mean, x))).sum(axes(x))
    return level, along, along * invstd, level.clone()


def batch_norm_backward_elemt(gradient, x, mean, invstd, weight, level, along, counts):
    total = counts.sum()
    along = (x - wide(mean, x)) * wide(invstd**2 * along / total, x)
    return (gradient - wide(level / total, x) - along) * wide(invstd * weight, x)


KERNELS = (
    batch_norm_stats,
    batch_norm_gather_stats_with_counts,
    batch_norm_elemt,
    batch_norm_backward_reduce,
    batch_norm_backward_elemt,
)


def trained(network: nn.Module, images: Tensor, factor: Tensor) -> list[Tensor]:
    """Outputs, gradient of the images, gradients of the weights."""
    images = images.clone().requires_grad_()
    output = network.train()(images)
    (output * factor).sum().backward()
    return [output.detach(), images.grad, *(parameter.grad for parameter in network.parameters())]


def network() -> nn.Module:
    torch.manual_seed(0)
    trunk = timm.create_model("test_byobnet", num_classes=0)  # its BatchNorm layers contain their activation
    return nn.Sequential(trunk, nn.BatchNorm1d(trunk.num_features)).double()


def replace_kernels() -> None:
    torch._C._get_privateuse1_backend_name = lambda: "cpu"  # a device that PyTorch's SyncBatchNorm admits
    for kernel in KERNELS:
        setattr(torch, kernel.__name__, kernel)


def compare(distributed: Distributed, device: torch.device) -> None:
    plain, rows = network().to(device), distributed.own_positions(COUNT)
    synchronised = synchronise_batchnorm(copy.deepcopy(plain), torch.device("cuda"))
    images = torch.randn(COUNT, 3, 32, 32, dtype=torch.double).to(device)
    factor = torch.randn(COUNT, plain[1].num_features, dtype=torch.double).to(device)
    output, on_images, *on_weights = trained(plain, images, factor)
    own_output, own_on_images, *own_on_weights = trained(synchronised, images[rows], factor[rows])
    for gradient in own_on_weights:
        dist.all_reduce(gradient)
    wanted = [output[rows], on_images[rows], *on_weights, *plain.buffers()]
    found = [own_output, own_on_images, *own_on_weights, *synchronised.buffers()]
    for own, expected in zip(found, wanted, strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-8, atol=1e-8)


if __name__ == "__main__":
    has_gpu = torch.cuda.is_available()
    if not has_gpu:
        replace_kernels()
    with init_distributed("cpu") as distributed:  # over gloo, so that both processes may use one GPU
        compare(distributed, torch.device("cuda" if has_gpu else "cpu"))
