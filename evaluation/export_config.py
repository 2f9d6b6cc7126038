"""Options of export.py. Imports no PyTorch: --help is fast."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from evaluation.config import TrunkOptions
from utils.options import option, parse
from utils.parser import Parser, image_side, layer_size, path_argument

ONNX, SAFETENSORS = "onnx", "safetensors"


@dataclass(frozen=True)
class NetworkOptions(TrunkOptions):
    """The network to export."""

    title: ClassVar[str] = "network"
    checkpoint: Path | None = option(
        None, type=path_argument, help="checkpoint file of this project, a released one, or a folder of --format safetensors"
    )
    image_size: int | None = option(
        None, type=image_side, help="image size in pixels; default: that of the training, if recorded, else the trunk's own"
    )
    num_hashing: int | None = option(None, type=layer_size, help="embedding length; default: that of the checkpoint")
    pretrained: bool = option(False, help="export the trunk's pooled feature instead of the embedding")


@dataclass(frozen=True)
class FileOptions:
    """The file to write."""

    title: ClassVar[str] = "what is written"
    format: str = option(
        ONNX, choices=(ONNX, SAFETENSORS), help="onnx: one file; safetensors: a folder of weights, config.json and a model card"
    )
    output: Path | None = option(
        None,
        "-o",
        type=path_argument,
        help="FILE.onnx, or a folder to put the file in; with safetensors, the folder to write; "
        "default: embedding.onnx or embedding/ beside the checkpoint",
    )


def export_options(arguments: Sequence[str] | None = None) -> tuple[NetworkOptions, FileOptions]:
    """Parsed options of export.py; a mistake exits with code 2 after one line."""
    parser = Parser("Write the embedding network of a checkpoint, or an untrained trunk, for use elsewhere.", "--checkpoint FILE")
    network, file = parse(parser, [NetworkOptions, FileOptions], arguments)
    return network, file
