"""Write the embedding network of a checkpoint as an ONNX file, after comparing its embeddings with PyTorch's."""

import hashlib
import itertools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from models.cse_resnet import IMAGE_SIZE
from models.embedding import EmbeddingNetwork, embedding_network, trained_preprocessing
from models.restore import recorded_image_size, restore_student
from models.trunk import PHOTO, SKETCH
from utils.errors import InputError
from utils.files import atomic_write, require_writable
from utils.options import option, parse
from utils.parser import Parser, image_side, layer_size, path_argument
from utils.text import one_line

SUFFIX, FILE_NAME = ".onnx", "embedding.onnx"
TOLERANCE = 1e-4  # greatest absolute difference between PyTorch's and ONNX Runtime's numbers of a unit vector
LIBRARIES = "'onnx>=1.16' 'onnxruntime>=1.19'"  # earlier versions do not support NumPy 2
OPSET = 17  # the last in which the axes of a mean are an attribute; ONNX Runtime reads it since 1.13
PREPROCESSING = (
    "upright (EXIF), transparent pixels on white, RGB, stretched to image_size x image_size with an antialiased {filter} filter "
    "(Pillow's resize with {FILTER}), uint8 0-255, channels first; the mean and deviation are applied by the network"
)
Network = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # images (B, 3, H, W) uint8, domain (B,) → (B, d) unit vectors


@dataclass(frozen=True)
class NetworkOptions:
    """The network to export."""

    title: ClassVar[str] = "network"
    checkpoint: Path = option(None, required=True, type=path_argument, help="checkpoint file of this project, or a released one")
    image_size: int | None = option(
        None, type=image_side, help=f"image size in pixels; default: that of the training, if recorded, else {IMAGE_SIZE}"
    )
    num_hashing: int = option(64, type=layer_size, help="embedding length")
    pretrained: bool = option(False, help="export the trunk's pooled feature instead of the embedding")


@dataclass(frozen=True)
class FileOptions:
    """The file to write."""

    title: ClassVar[str] = "what is written"
    format: list[str] | None = option(None, nargs="+", choices=("onnx",), help="file format; ONNX is the only one")
    output: Path | None = option(
        None, "-o", type=path_argument, help="FILE.onnx or a folder; default: embedding.onnx beside the checkpoint"
    )


def export_options(arguments: Sequence[str] | None = None) -> tuple[NetworkOptions, FileOptions]:
    """Parsed options of export.py; a mistake exits with code 2 after one line."""
    parser = Parser("Write the embedding network of a checkpoint as ONNX.", "--checkpoint FILE")
    network, file = parse(parser, [NetworkOptions, FileOptions], arguments)
    return network, file


class ExportedNetwork(nn.Module):
    """The network to export: pixels and domains → unit vectors."""

    def __init__(self, network: EmbeddingNetwork):
        super().__init__()
        self.network, normalise = network, network.preprocessing.normalise
        # `normalise` inside a trace would tie the file to the CPU; it is linear, so black and white define it
        black, white = normalise(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 1, 1))
        self.register_buffer("offset", black)  # (3, 1, 1), as the slope
        self.register_buffer("slope", (white - black) / 255)

    def forward(self, images: torch.Tensor, domain: torch.Tensor) -> torch.Tensor:
        """images (B, 3, H, W) uint8 RGB, domain (B,) of SKETCH or PHOTO → (B, d) float32, L2-normalised."""
        return self.network.embed(torch.addcmul(self.offset, images.float(), self.slope), domain)


def export_network(options: NetworkOptions, file: FileOptions) -> Path:
    """Write the file, print how far its embeddings are from PyTorch's, and return its path.

    Raises InputError if the checkpoint, the target or a library cannot be used, or if the embeddings differ by more than
    TOLERANCE; an earlier file of the same name then stays.
    """
    path = _target(options.checkpoint, file.output)
    _require_onnx()
    student, content = restore_student(options.checkpoint, options.num_hashing)
    if path.exists() and path.samefile(options.checkpoint):
        raise InputError(f"--output {path}: is the checkpoint itself; choose another name")
    require_writable(path, "--output", SUFFIX)
    preprocessing = trained_preprocessing(student, recorded_image_size(content), options.image_size)
    side = preprocessing.image_size
    _print_other_size(side, content)
    network = embedding_network(student, preprocessing, options.pretrained).eval()
    metadata = _metadata(options, network)
    difference = _write(network, path, metadata)
    megabytes, width = path.stat().st_size / 1e6, metadata["embedding_width"]
    print(f"{path}: {megabytes:.1f} MB, {width}-d, images of {side} px; differs from PyTorch by at most {difference:.1e}")
    return path


def _target(checkpoint: Path, output: Path | None) -> Path:
    place = output or checkpoint.parent
    if output is None or place.is_dir() or not place.suffix:
        return place / FILE_NAME
    if place.suffix != SUFFIX:
        raise InputError(f"--output {place}: give a name that ends in {SUFFIX}, or a folder that exists")
    return place


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        fault = one_line(error) or "they cannot be loaded"
        raise InputError(f"--format onnx: needs onnx and onnxruntime ({fault}); pip install {LIBRARIES}") from error


def _print_other_size(side: int, content: dict[str, Any]) -> None:
    trained_at = recorded_image_size(content)
    if trained_at not in (None, side):
        print(f"note: trained at {trained_at} px, exported for {side} px; --image_size {trained_at} would match")


def _metadata(options: NetworkOptions, network: EmbeddingNetwork) -> dict[str, str]:
    side, filter_name = network.preprocessing.image_size, network.preprocessing.interpolation
    return {
        "title": "DSN: sketches and photos as vectors of one space",
        "image_size": str(side),
        "embedding_width": str(network.width),
        "feature": "pooled" if options.pretrained else "embedding",
        "images": "(B, 3, image_size, image_size) uint8 RGB",
        "preprocessing": PREPROCESSING.format(filter=filter_name, FILTER=filter_name.upper()),
        "domain": f"(B,) float32, {SKETCH:.0f} for a sketch and {PHOTO:.0f} for a photo",
        "embedding": "(B, embedding_width) float32 of length 1: inner product = cosine",
        "checkpoint_sha256": hashlib.sha256(options.checkpoint.read_bytes()).hexdigest(),
    }


def _write(network: EmbeddingNetwork, path: Path, metadata: dict[str, str]) -> float:
    """Write the file; returns the greatest absolute difference between its embeddings and PyTorch's."""
    with atomic_write(path) as temporary:
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a deprecated exporter and of shapes that a trace fixes
                write_onnx(ExportedNetwork(network).eval(), network.preprocessing.image_size, metadata, temporary)
                difference = _difference(network, load_onnx(temporary))
        except (InputError, OSError, MemoryError):
            raise
        except Exception as error:  # the exporter and ONNX Runtime have exceptions of their own
            reason = f"PyTorch {torch.__version__}: {one_line(error)[:200] or type(error).__name__}"
            raise InputError(f"{path}: cannot be written ({reason}); try another version of PyTorch") from error
        if not difference <= TOLERANCE:  # never true of NaN
            fault = f"its embeddings differ from PyTorch's by {difference:.1e}, more than {TOLERANCE:.0e}"
            raise InputError(f"{path}: not written, because {fault}; try another version of PyTorch")
    return difference


def _difference(network: EmbeddingNetwork, written: Network) -> float:
    differences = []
    for count, first_domain in itertools.product((1, 3), (SKETCH, PHOTO)):
        images, domain = _example(count, network.preprocessing.image_size, first_domain)
        expected = network.embed(network.preprocessing.normalise(images), domain)
        differences.append(float((written(images, domain) - expected).abs().max()))
    return float(np.max(differences))  # NaN if any is NaN


def _example(count: int, side: int, first_domain: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Seeded images (count, 3, side, side) uint8, and alternating domains (count,)."""
    colours = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(count))
    images = F.interpolate(colours, (side, side), mode="bilinear").mul(255).round().byte()
    return images, (torch.arange(count) + first_domain) % 2


def write_onnx(network: nn.Module, side: int, metadata: dict[str, str], path: Path) -> None:
    """Export by tracing. The newer exporter (dynamo=True) would also need onnxscript; PyTorch 2.6 to 2.15 have this one."""
    import onnx

    axes = {name: {0: "batch"} for name in ("images", "domain", "embedding")}
    names: dict[str, Any] = {"input_names": ["images", "domain"], "output_names": ["embedding"], "dynamic_axes": axes}
    torch.onnx.export(network, _example(2, side, SKETCH), str(path), dynamo=False, opset_version=OPSET, **names)
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, str(path))


def load_onnx(path: Path) -> Network:
    """The file's network on the CPU."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    settings.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    return lambda images, domain: torch.from_numpy(session.run(None, {"images": images.numpy(), "domain": domain.numpy()})[0])
