"""The domain tag of a timm trunk: a few learned numbers per domain that tell the trunk whether its input is a sketch or a photo.

A transformer gets one vector per domain, added to every patch token; a convolutional network one scale and one shift per domain
for the channels after each stage (as in FiLM, Perez et al., AAAI 2018). All start at zero, where they change nothing. That is
why the vector is added to the tokens, as BERT's segment embeddings are, instead of being one more token: the softmax of the
attention would give even a zero token a share, so that the pretrained trunk would not start as it was.
"""

from typing import Any

import torch
from torch import nn


class DomainTag(nn.Module):
    """Changes the outputs of some modules of `network` by the domains in `self.domain` (B,), which the trunk sets."""

    domain: torch.Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        is_transformer = isinstance(getattr(network, "patch_embed", None), nn.Module)
        places = {"patch_embed": _token_width(network)} if is_transformer else _stages(network)
        self.channel_axis = -1 if is_transformer or getattr(network, "output_fmt", "NCHW") == "NHWC" else 1
        self.shift = nn.ParameterList(torch.zeros(2, width) for width in places.values())
        self.scale = nn.ParameterList(torch.zeros(2, width) for width in places.values() if not is_transformer)
        for number, name in enumerate(places):
            _last_part(network.get_submodule(name)).register_forward_hook(_Hook(self, number))

    def tagged(self, output: torch.Tensor, number: int) -> torch.Tensor:
        """The output of place `number`, changed."""
        index = self.domain.round().long()
        shape = [-1] + [1] * (output.ndim - 1)  # a trace for export fixes no batch size
        shape[self.channel_axis] = self.shift[number].shape[1]
        if len(self.scale):
            output = output * (1 + self.scale[number][index].view(shape)).to(output.dtype)
        return output + self.shift[number][index].view(shape).to(output.dtype)


class _Hook:
    """Not a lambda: a copy of the network has the copy of the tag, and the network can be pickled."""

    def __init__(self, tag: DomainTag, number: int):
        self.tag, self.number = tag, number

    def __call__(self, module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        return self.tag.tagged(output, self.number)


def _last_part(module: nn.Module) -> nn.Module:
    """Of nested sequences the last module: with checkpointed activations timm calls the parts, and not the sequence."""
    while isinstance(module, nn.Sequential) and len(module):
        module = module[-1]
    return module


def _token_width(network: nn.Module) -> int:
    """Channels of the patch tokens, which in a hierarchical transformer are fewer than those of the feature."""
    patches: Any = network.patch_embed
    return getattr(patches, "embed_dim", None) or patches.proj.out_channels


def _stages(network: Any) -> dict[str, int]:
    """{module: channels} of the stages that timm lists for the network."""
    return {stage["module"]: stage["num_chs"] for stage in network.feature_info}
