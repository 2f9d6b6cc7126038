"""Export of a network: as one ONNX file, or as a folder of safetensors that every command here loads again."""

import hashlib
import json
from pathlib import Path
from typing import Any

from evaluation.export_config import SAFETENSORS, FileOptions, NetworkOptions
from evaluation.model_folder import require_replaceable, write_model_folder
from evaluation.onnx_file import require_onnx, write_onnx
from models.embedding import EmbeddingNetwork, embedding_network, trained_preprocessing
from models.names import CSE_RESNET50, DOWNLOAD, PHOTO, SKETCH
from models.restore import recorded_image_size, require_arch, restore_student
from models.trunks import initial_trunk
from utils.errors import InputError
from utils.files import require_writable

SUFFIX, NAME = ".onnx", "embedding"


def export_network(options: NetworkOptions, file: FileOptions) -> Path:
    """Write the ONNX file or the folder, and return its path.

    Raises InputError if the checkpoint, the target or a library cannot be used, or if an ONNX file's embeddings differ from
    PyTorch's; what an earlier export wrote then stays.
    """
    if (options.checkpoint is None) != options.untrained:
        raise InputError("give either --checkpoint or --untrained")
    if options.checkpoint and options.pretrained_weights is not None:
        raise InputError(f"--pretrained_weights: {options.checkpoint} holds all weights; leave it out")
    return _export_folder(options, file) if file.format == SAFETENSORS else _export_onnx(options, file)


def _export_onnx(options: NetworkOptions, file: FileOptions) -> Path:
    path = _onnx_target(options, file.output)
    require_onnx()
    network = _opened(options)
    if options.checkpoint and path.exists() and path.samefile(options.checkpoint):
        raise InputError(f"--output {path}: is the checkpoint itself; choose another name")
    require_writable(path, "--output", SUFFIX)
    metadata = _metadata(options, network)
    difference = write_onnx(network, path, metadata)
    megabytes, side = path.stat().st_size / 1e6, network.preprocessing.image_size
    print(f"{path}: {megabytes:.1f} MB, {network.width}-d, images of {side} px; differs from PyTorch by at most {difference:.1e}")
    return path


def _export_folder(options: NetworkOptions, file: FileOptions) -> Path:
    checkpoint = options.checkpoint
    if checkpoint is None or options.pretrained:
        raise InputError("--format safetensors: holds a trained network with its embedding; use --format onnx with this option")
    if checkpoint.is_dir():
        raise InputError(f"{checkpoint}: is a folder, as --format safetensors writes it; copy it, or export its checkpoint")
    path = file.output or checkpoint.parent / NAME
    require_replaceable(path)
    student, content = restore_student(checkpoint, options.num_hashing)
    require_arch(student.original_model, options.arch, checkpoint)
    preprocessing = trained_preprocessing(student, recorded_image_size(content), options.image_size)
    _print_other_size(preprocessing.image_size, content)
    write_model_folder(path, student, preprocessing, content, checkpoint)
    print(f"{path}: {sum(part.stat().st_size for part in path.iterdir()) / 1e6:.1f} MB")
    return path


def _opened(options: NetworkOptions) -> EmbeddingNetwork:
    if options.checkpoint is None:
        trunk = initial_trunk(options.arch or CSE_RESNET50, options.pretrained_weights or DOWNLOAD, options.image_size)
        if trunk.licence:
            print(f"its weights: licence {trunk.licence}")
        return EmbeddingNetwork(trunk, trunk.preprocessing).eval()
    student, content = restore_student(options.checkpoint, options.num_hashing)
    require_arch(student.original_model, options.arch, options.checkpoint)
    preprocessing = trained_preprocessing(student, recorded_image_size(content), options.image_size)
    _print_other_size(preprocessing.image_size, content)
    return embedding_network(student, preprocessing, options.pretrained).eval()


def _onnx_target(options: NetworkOptions, output: Path | None) -> Path:
    """Raises InputError if `output` has another suffix."""
    if options.checkpoint is None:
        beside, name = Path(), f"{(options.arch or CSE_RESNET50).replace('/', '-')}{SUFFIX}"
    else:
        beside, name = options.checkpoint.parent, NAME + SUFFIX
    place = output or beside
    if output is None or place.is_dir() or not place.suffix:
        return place / name
    if place.suffix != SUFFIX:
        raise InputError(f"--output {place}: give a name that ends in {SUFFIX}, or a folder that exists")
    return place


def _print_other_size(side: int, content: dict[str, Any]) -> None:
    trained_at = recorded_image_size(content)
    if trained_at not in (None, side):
        print(f"note: trained at {trained_at} px, exported for {side} px; --image_size {trained_at} would match")


def _metadata(options: NetworkOptions, network: EmbeddingNetwork) -> dict[str, str]:
    preprocessing, trunk = network.preprocessing, network.trunk
    pixels = f"{preprocessing.in_words()}, uint8 0-255, channels first"
    metadata = {
        "title": "DSN: sketches and photos as vectors of one space",
        "arch": trunk.arch,
        "image_size": str(preprocessing.image_size),
        "embedding_width": str(network.width),
        "feature": "embedding" if network.projection is not None else "pooled",
        "images": "(B, 3, image_size, image_size) uint8 RGB",
        "preprocessing": f"{pixels}; the mean and deviation are applied by the network",
        "preprocessing_values": json.dumps(preprocessing.as_dict()),
        "domain": f"(B,) float32, {SKETCH:.0f} for a sketch and {PHOTO:.0f} for a photo",
        "embedding": "(B, embedding_width) float32 of length 1: inner product = cosine",
    }
    if trunk.licence:
        metadata["licence"] = f"{trunk.licence} (of the trunk's initial weights)"
    if options.checkpoint and options.checkpoint.is_file():
        metadata["checkpoint_sha256"] = hashlib.sha256(options.checkpoint.read_bytes()).hexdigest()
    return metadata
