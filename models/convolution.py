"""Convolutions for compiled training on a CPU: matrix products where the output is a small map.

There oneDNN's kernels, most of all those of the weights' gradient, are up to 7 times slower (bfloat16 with AMX; up to 3 times in
float32), and on larger maps they are faster.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALL = 7 * 7  # positions of the output


def use_matrix_products(network: nn.Module) -> None:
    """Make each plain convolution of `network` a `ProductConv2d` in place: parameters, hooks and state-dict keys stay."""
    for layer in network.modules():
        if type(layer) is nn.Conv2d and layer.groups == 1 and layer.bias is None and not isinstance(layer.padding, str):
            layer.__class__ = ProductConv2d


class ProductConv2d(nn.Conv2d):
    """A convolution without bias or groups. Unless it is compiled for training, it computes as `nn.Conv2d` does."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        is_trained = torch.compiler.is_compiling() and torch.is_grad_enabled()
        if not is_trained or self.padding_mode != "zeros" or y.shape[2] * y.shape[3] > SMALL:
            return y
        return self._product(x.to(y.dtype), y.shape)  # the compiler drops the convolution

    def _product(self, x: Tensor, shape: torch.Size) -> Tensor:
        """x (B, C, H, W) → (B, D, h, w) of `shape`: patches (B·h·w, kernel height · kernel width · C) times weights."""
        batch, depth, rows, columns = shape
        (down, across), (top, left) = self.stride, self.padding
        x = F.pad(x.permute(0, 2, 3, 1), (0, 0, left, left, top, top))
        shifted = [
            x[:, i : i + down * (rows - 1) + 1 : down, j : j + across * (columns - 1) + 1 : across]
            for i in range(0, self.kernel_size[0] * self.dilation[0], self.dilation[0])
            for j in range(0, self.kernel_size[1] * self.dilation[1], self.dilation[1])
        ]
        weight = self.weight.to(x.dtype).permute(0, 2, 3, 1).reshape(depth, -1)
        product = torch.cat(shifted, dim=3).flatten(0, 2) @ weight.t()
        return product.view(batch, rows, columns, depth).permute(0, 3, 1, 2)
