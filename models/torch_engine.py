"""PyTorch as the engine: BatchNorm folded into convolutions, channels last, half-precision weights, CUDA graphs."""

import sys
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from models.batchnorm_folding import fold_batchnorm
from models.embedding import EmbeddingNetwork
from models.engine import BF16, FLOAT32, FP16, Engine
from models.names import PHOTO
from models.pixels import PixelNetwork
from utils.text import one_line

HALF = {BF16: torch.bfloat16, FP16: torch.float16}
MOST_GRAPHS = 4  # each keeps the memory of its activations
Forward = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class TorchEngine(Engine):
    """Runs a network on its device as it is, in eval mode. uses_graphs: replay CUDA graphs of batch shapes that return."""

    def __init__(self, network: EmbeddingNetwork, device: torch.device, precision: str = FLOAT32, uses_graphs: bool = False):
        self.name, self.precision = f"PyTorch {torch.__version__}", precision
        self.width, self.preprocessing, self.device = network.width, network.preprocessing, device
        self.network = PixelNetwork(network).to(device).eval()
        self._graphs: dict[torch.Size, _Graph | None] | None = {} if uses_graphs else None

    def embed(self, images: np.ndarray, domain: float) -> np.ndarray:
        return self.embed_tensor(torch.from_numpy(images).permute(0, 3, 1, 2), domain).cpu().numpy()

    @torch.inference_mode()
    def embed_tensor(self, images: torch.Tensor, domain: float) -> torch.Tensor:
        images = images.to(self.device, non_blocking=True)
        domains = torch.full((len(images),), domain, device=self.device)
        return self._chosen_forward(images)(images, domains)

    def _forward(self, images: torch.Tensor, domains: torch.Tensor) -> torch.Tensor:
        half = HALF.get(self.precision)
        with torch.autocast(self.device.type, dtype=half, enabled=half is not None):
            return self.network(images, domains)

    def _chosen_forward(self, images: torch.Tensor) -> Forward:
        """The graph of this batch shape from its second time on; the last batch of a list is not worth one."""
        if self._graphs is None or (len(self._graphs) >= MOST_GRAPHS and images.shape not in self._graphs):
            return self._forward
        if images.shape not in self._graphs:
            self._graphs[images.shape] = None
            return self._forward
        graph = self._graphs[images.shape]
        if graph is None:
            try:
                graph = self._graphs[images.shape] = _Graph(self._forward, images)
            except RuntimeError as error:  # an operation of this network cannot be captured
                print(f"note: continuing without CUDA graphs ({one_line(error)[:200]})", file=sys.stderr)
                self._graphs = None
                return self._forward
        return graph


class _Graph:
    """A forward pass captured for one batch shape: the host launches one graph instead of hundreds of kernels."""

    def __init__(self, forward: Forward, images: torch.Tensor):
        self.images = images.clone(memory_format=torch.preserve_format)
        self.domains = torch.full((len(images),), PHOTO, device=images.device)
        with torch.cuda.device(images.device):  # else a graph of another GPU's current stream, which holds nothing
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):  # libraries choose their algorithms outside the graph
                for _ in range(2):
                    forward(self.images, self.domains)
            torch.cuda.current_stream().wait_stream(stream)
            self.graph = torch.cuda.CUDAGraph()
            # other threads may go on: the DataLoader's allocates pinned memory, which would invalidate a "global" capture
            with torch.cuda.graph(self.graph, stream=stream, capture_error_mode="thread_local"):
                self.output = forward(self.images, self.domains)

    def __call__(self, images: torch.Tensor, domains: torch.Tensor) -> torch.Tensor:
        self.images.copy_(images)
        self.domains.copy_(domains)
        self.graph.replay()
        return self.output.clone()


def optimised(network: EmbeddingNetwork, device: torch.device, precision: str = FLOAT32) -> TorchEngine:
    """The engine owns the network and changes its weights: BatchNorm is folded, and half precision is applied once."""
    network.eval().to(device, memory_format=torch.channels_last)
    pixels = PixelNetwork(network).to(device)
    fold_batchnorm(pixels, *pixels.example())
    if precision in HALF:
        _convert_weights(pixels, device, HALF[precision])
    return TorchEngine(network, device, precision, uses_graphs=device.type == "cuda")


@torch.no_grad()
def _convert_weights(network: PixelNetwork, device: torch.device, half: torch.dtype) -> None:
    """Convert weights to half precision, which autocast would do again in each batch, unless the network then fails."""
    layers = [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    for layer in layers:
        layer.to(half)
    try:
        with torch.autocast(device.type, dtype=half):
            network(*network.example())
    except RuntimeError:  # a layer that combines its weights with others before autocast sees them
        for layer in layers:
            layer.float()
