"""Which engine computes the embeddings of a network on a device, and the network's conversion for it."""

import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from models.embedding import EmbeddingNetwork
from models.engine import BF16, FLOAT32, Engine
from models.names import PHOTO, SKETCH
from models.openvino_engine import OpenVinoEngine, keep_engine, kept_engine, openvino_version
from models.pixels import PixelNetwork
from models.torch_engine import optimised
from utils.signals import signals_held
from utils.text import one_line

TOLERANCE = {FLOAT32: 1e-4, BF16: 0.05}  # greatest difference from PyTorch's float32 in a number of a unit vector

LEAST_PIXELS = 20_000_000  # 400 images of 224 px; PyTorch embeds them in the seconds that a conversion takes


@dataclass(frozen=True)
class KeptIn:
    """The folder that keeps a converted network, and the digest of the network's weights."""

    folder: Path
    digest: str


def open_engine(
    network: EmbeddingNetwork, device: torch.device, precision: str, kept: KeptIn | None = None, images: int | None = None
) -> Engine:
    """The fastest engine for the network, which belongs to it from here on: its weights may be changed.

    precision: FLOAT32, BF16 or FP16 (GPUs only). kept: where a converted network is kept for the next time, if at all. images:
    how many are to be embedded, if that is known: few do not repay a conversion.
    """
    repays = images is None or images * network.preprocessing.image_size**2 >= LEAST_PIXELS
    if device.type == "cpu" and repays and openvino_version() is not None:
        try:
            return _openvino_engine(network.eval(), precision, kept)
        except Exception as error:  # an operation that OpenVINO lacks, or a version of PyTorch that it cannot read
            print(f"note: OpenVINO cannot run this network ({one_line(error)[:200]}); PyTorch runs it", file=sys.stderr)
    return optimised(network, device, precision)


def _openvino_engine(network: EmbeddingNetwork, precision: str, kept: KeptIn | None) -> Engine:
    """Raises RuntimeError if its vectors differ from PyTorch's, and what the conversion raises."""
    width, preprocessing = network.width, network.preprocessing
    found = kept and kept_engine(kept.folder, kept.digest, preprocessing.image_size, precision)
    if found and (found.width, found.preprocessing) == (width, preprocessing) and _fault(found, network) is None:
        return found
    tqdm.write("note: converting the network for OpenVINO, which takes some seconds", file=sys.stderr)  # beside a progress bar
    model = converted(network)
    for checked in dict.fromkeys([FLOAT32, precision]):
        engine = OpenVinoEngine(model, width, preprocessing, checked)
        if fault := _fault(engine, network):
            raise RuntimeError(fault)
    if kept:
        keep_engine(kept.folder, kept.digest, model, width, preprocessing)
    return engine


@torch.inference_mode()
def _fault(engine: Engine, network: EmbeddingNetwork) -> str | None:
    """What is wrong with an engine's vectors of example images; None if they are PyTorch's."""
    pixels = PixelNetwork(network)
    for count, domain in ((1, SKETCH), (3, PHOTO)):  # not the two that were traced
        images, _ = pixels.example(count)
        expected = pixels(images, torch.full((len(images),), domain))
        difference = float((engine.embed_tensor(images, domain) - expected).abs().max())
        if not difference <= TOLERANCE[engine.precision]:  # never true of NaN
            return f"its vectors differ by {difference:.1e}"
    return None


class _ChannelsLast(nn.Module):
    """The network with the pixels as Pillow lays them out, (B, S, S, 3)."""

    def __init__(self, network: PixelNetwork):
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor, domain: torch.Tensor) -> torch.Tensor:
        return self.network(images.permute(0, 3, 1, 2), domain)


def converted(network: EmbeddingNetwork) -> Any:
    """An `openvino.Model` for images (B, S, S, 3) uint8 and domains (B,), in this order."""
    import openvino

    pixels = PixelNetwork(network)
    images, domain = pixels.example()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing, and of shapes that a trace fixes
        example = images.permute(0, 2, 3, 1).contiguous(), domain
        traced = torch.jit.trace(_ChannelsLast(pixels).eval(), example, strict=False, check_trace=False)  # `_fault` checks
        with signals_held():  # OpenVINO loses a KeyboardInterrupt raised in it
            model = openvino.convert_model(traced, example_input=example)
    side = network.preprocessing.image_size
    model.reshape({model.input(0): openvino.PartialShape([-1, side, side, 3])})
    return model
