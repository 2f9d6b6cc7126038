"""A checkpoint → its embedding network as one ONNX or TorchScript file, written only if it gives what ours gives."""

import argparse
import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from datasets.views import normalise
from models.cse_resnet import FEATURE_DIM, PHOTO, SKETCH
from models.dsn import Student
from models.restore import recorded_image_size, restore_student
from utils.errors import InputError
from utils.files import atomic_write, require_writable
from utils.parser import Group, Parser, image_side, layer_size, path_argument
from utils.text import one_line

SUFFIXES = {"onnx": ".onnx", "torchscript": ".pt"}
STEM = "embedding"  # of the files' names, where only a folder is given
IMAGE_SIZE = 224  # where neither the user nor the checkpoint says
TOLERANCE = 1e-4  # of a number of a unit vector, between ours and what was written
BATCH_SIZES = (1, 3)  # that both are tried with
ONNX_LIBRARIES = "'onnx>=1.16' 'onnxruntime>=1.19'"  # earlier ones know no NumPy 2
OPSET = 17  # the last before mean's axes became an input; ONNX Runtime reads it since 1.13
METADATA_FILE = "metadata.json"  # within the TorchScript file
PREPROCESSING = (
    "upright (EXIF), transparent pixels on white, RGB, stretched to image_size x image_size with an antialiased bilinear filter "
    "(Pillow's resize with BILINEAR), uint8 0-255, channels first; the ImageNet mean and deviation are applied by the network"
)


def export_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parsed options of export.py; a mistake exits with code 2 after one line."""
    parser = Parser("Write the embedding network of a checkpoint as ONNX and TorchScript.", "--checkpoint FILE")
    network = Group(parser, "network")
    network.add("--checkpoint", type=path_argument, required=True, help="any checkpoint file, of ours or downloaded")
    network.add("--image_size", type=image_side, default=None, help=f"None: that of the training, if recorded, else {IMAGE_SIZE}")
    network.add("--num_hashing", type=layer_size, default=64, help="length of the embedding")
    network.add("--pretrained", action="store_true", help="give the 2048-d pooled feature instead of the embedding")

    written = Group(parser, "what is written")
    written.add("--format", nargs="+", choices=tuple(SUFFIXES), default=None, help="None: by --output's ending, or both")
    written.add(
        "--output", "-o", type=path_argument, default=None, help="FILE.onnx, FILE.pt or a folder; default: beside the checkpoint"
    )
    return parser.parse_args(arguments)


class EmbeddingNetwork(nn.Module):
    """Pixels and domains → unit vectors: what is exported. `pooled` gives the 2048-d feature instead of the embedding."""

    def __init__(self, student: Student, pooled: bool):
        super().__init__()
        self.trunk = student.original_model
        self.pooled = pooled
        # Called within a trace, `normalise` would tie the file to the CPU; as it is linear, its ends say all of it.
        black, white = normalise(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 1, 1))
        self.register_buffer("offset", black)  # (3, 1, 1), as the slope
        self.register_buffer("slope", (white - black) / 255)

    def forward(self, images: torch.Tensor, domain: torch.Tensor) -> torch.Tensor:
        """images (B, 3, H, W) uint8 RGB, domain (B,) of SKETCH or PHOTO → (B, d) float32, L2-normalised."""
        features = self.trunk.features(torch.addcmul(self.offset, images.float(), self.slope), domain)
        return F.normalize(features if self.pooled else self.trunk.second_last_linear(features), dim=1)


class GuardedNetwork(nn.Module):
    """A traced network that refuses what it was not made for, which a trace alone would take and get wrong."""

    def __init__(self, traced: torch.jit.ScriptModule, side: int):
        super().__init__()
        self.traced = traced
        self.side = side

    def forward(self, images: torch.Tensor, domain: torch.Tensor) -> torch.Tensor:
        if images.dtype != torch.uint8 or list(images.shape[1:]) != [3, self.side, self.side]:
            raise ValueError(f"images must be uint8 of shape (B, 3, {self.side}, {self.side})")
        return self.traced(images, domain)


@dataclass(frozen=True)
class Export:
    """A student in eval mode, on the CPU, and what is to become of it."""

    student: Student
    side: int  # pixels
    pooled: bool
    metadata: dict[str, str]

    def network(self) -> EmbeddingNetwork:
        return EmbeddingNetwork(self.student, self.pooled).eval()

    def example(self, count: int, first_domain: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Seeded patches (count, 3, side, side), uint8, and domains (count,) that alternate: the same each time."""
        colours = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(count))
        images = F.interpolate(colours, (self.side, self.side), mode="bilinear").mul(255).round().byte()
        return images, (torch.arange(count) + first_domain) % 2

    @torch.no_grad()
    def expected(self, images: torch.Tensor, domain: torch.Tensor) -> torch.Tensor:
        """(B, d): what a test would rank by, see evaluation.embedding."""
        output = self.student(normalise(images), domain)
        return F.normalize(output.pooled if self.pooled else output.embedding, dim=1)


def export_network(options: argparse.Namespace) -> dict[str, Path]:
    """Write the files that are asked for and print how far each is from ours; returns them by format.

    Raises InputError if the checkpoint, a target or a library does not do, or if a written network's answers differ from ours
    by more than TOLERANCE; what had its name before then stays.
    """
    targets = _targets(options)
    if "onnx" in targets:
        _require_onnx()
    student, content = restore_student(options.checkpoint, options.num_hashing)
    for kind, path in targets.items():
        if path.exists() and path.samefile(options.checkpoint):
            raise InputError(f"--output {path}: is the checkpoint itself; choose another name")
        require_writable(path, "--output", SUFFIXES[kind])
    side = _image_size(options.image_size, content)
    export = Export(student, side, options.pretrained, _metadata(options, side))
    for kind, path in targets.items():
        difference = _write(export, path, *FORMATS[kind])
        megabytes, width = path.stat().st_size / 1e6, export.metadata["embedding_width"]
        print(f"{path}: {megabytes:.1f} MB, {width}-d, images of {side} px; differs from ours by at most {difference:.1e}")
    return targets


def _targets(options: argparse.Namespace) -> dict[str, Path]:
    place, formats = options.output or options.checkpoint.parent, options.format
    if options.output is None or place.is_dir() or not place.suffix:
        return {kind: place / f"{STEM}{SUFFIXES[kind]}" for kind in SUFFIXES if not formats or kind in formats}
    kind = next((kind for kind, suffix in SUFFIXES.items() if suffix == place.suffix), None)
    if kind is None:
        raise InputError(f"--output {place}: give a name that ends in {' or '.join(SUFFIXES.values())}, or a folder that exists")
    if formats and set(formats) != {kind}:
        raise InputError(f"--output {place}: is for {kind}, but --format asks for {' and '.join(formats)}; give a folder")
    return {kind: place}


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        fault = one_line(error) or "which do not load here"
        raise InputError(
            f"--format onnx: needs onnx and onnxruntime ({fault}); pip install {ONNX_LIBRARIES}, or --format torchscript"
        ) from error


def _image_size(asked: int | None, content: dict) -> int:
    trained_at = recorded_image_size(content)
    if trained_at and asked not in (None, trained_at):
        print(f"note: trained at {trained_at} px, exported for {asked} px; --image_size {trained_at} would match")
    return asked or trained_at or IMAGE_SIZE


def _metadata(options: argparse.Namespace, side: int) -> dict[str, str]:
    return {
        "title": "DSN: sketches and photos as vectors of one space",
        "image_size": str(side),
        "embedding_width": str(FEATURE_DIM if options.pretrained else options.num_hashing),
        "feature": "pooled" if options.pretrained else "embedding",
        "images": "(B, 3, image_size, image_size) uint8 RGB",
        "preprocessing": PREPROCESSING,
        "domain": f"(B,) float32, {SKETCH:.0f} for a sketch and {PHOTO:.0f} for a photo",
        "embedding": "(B, embedding_width) float32 of length 1: inner product = cosine",
        "checkpoint_sha256": _sha256(options.checkpoint),
    }


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _write(export: Export, path: Path, write: Callable, load: Callable) -> float:
    """The greatest absolute difference to ours of the file that is now at `path`."""
    with atomic_write(path) as temporary:
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # both exporters are called deprecated, and speak of what a trace cannot hold
                write(export, temporary)
                difference = _difference(export, load(temporary))
        except (InputError, OSError, MemoryError):
            raise
        except Exception as error:  # PyTorch's exporters and ONNX Runtime raise kinds of their own
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise InputError(
                f"{path}: cannot be made with PyTorch {torch.__version__} ({reason}); try another --format"
            ) from error
        if not difference <= TOLERANCE:  # NaN is refused too
            raise InputError(
                f"{path}: not written, for its embeddings differ from ours by {difference:.1e}, more than {TOLERANCE:.0e}; "
                "try another --format or version of PyTorch"
            )
    return difference


def _difference(export: Export, run: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> float:
    differences = []
    for count in BATCH_SIZES:
        for first_domain in (SKETCH, PHOTO):
            images, domain = export.example(count, first_domain)
            found, expected = run(images, domain), export.expected(images, domain)
            if found.shape != expected.shape:
                raise ValueError(f"{tuple(found.shape)} came out where {tuple(expected.shape)} belongs")
            differences.append(float((found - expected).abs().max()))
    return float(np.max(differences))  # unlike Python's, it lets a NaN win


def _write_onnx(export: Export, path: Path) -> None:
    import onnx

    names = {"input_names": ["images", "domain"], "output_names": ["embedding"]}
    batch = {name: {0: "batch"} for name in ("images", "domain", "embedding")}
    # Not the newer exporter (dynamo=True): it wants onnxscript as well, and PyTorch 2.6 to 2.15 have this one.
    arguments = export.example(2, SKETCH)
    torch.onnx.export(export.network(), arguments, str(path), dynamo=False, opset_version=OPSET, dynamic_axes=batch, **names)
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, export.metadata)
    onnx.save(model, str(path))


def _load_onnx(path: Path) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    settings.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    return lambda images, domain: torch.from_numpy(session.run(None, {"images": images.numpy(), "domain": domain.numpy()})[0])


def _write_torchscript(export: Export, path: Path) -> None:
    traced = torch.jit.trace(export.network(), export.example(2, SKETCH), check_trace=False)  # we compare ourselves
    frozen = torch.jit.freeze(torch.jit.script(GuardedNetwork(traced, export.side).eval()))
    torch.jit.save(frozen, str(path), _extra_files={METADATA_FILE: json.dumps(export.metadata, indent=1)})


def _load_torchscript(path: Path) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    return torch.jit.load(str(path), map_location="cpu")


FORMATS = {"onnx": (_write_onnx, _load_onnx), "torchscript": (_write_torchscript, _load_torchscript)}
