"""Convolutions of compiled training have the gradients of PyTorch's own."""

import pytest
import torch
from torch import nn

from models.convolution import use_matrix_products


def gradients(network, forward, images, amp):
    images = images.clone().requires_grad_(True)
    network.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        output = forward(images)
    output.float().square().sum().backward()
    return [output.detach(), images.grad, *(parameter.grad.clone() for parameter in network.parameters())]


@pytest.mark.parametrize(
    ("size", "stride", "padding", "dilation", "amp"),
    [(1, 2, 0, 1, False), (3, (2, 1), (1, 0), 1, False), ((3, 2), 1, 2, (2, 1), False), (3, 1, 1, 1, True)],
)
def test_gradients_are_those_of_pytorch(size, stride, padding, dilation, amp):
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 8, 1, bias=False), nn.Conv2d(8, 4, size, stride, padding, dilation, bias=False)
    network = nn.Sequential(first, nn.BatchNorm2d(8), nn.ReLU(), second).to(memory_format=torch.channels_last)
    images = torch.randn(2, 3, 7, 6)
    expected = gradients(network, network, images, amp)
    use_matrix_products(network)
    assert all(map(torch.equal, gradients(network, network, images, amp), expected))  # uncompiled
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="aot_eager", dynamic=False)
    for found, wanted in zip(gradients(network, compiled, images, amp), expected, strict=True):
        assert (found - wanted).norm() <= (0.03 if amp else 1e-5) * wanted.norm()
