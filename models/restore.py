"""Checkpoint, released or ours, or a folder of export.py → student network, its layer widths read from the weights."""

import hashlib
import re
import sys
from pathlib import Path
from typing import Any, TypeVar

import torch

from models.dsn import Student
from models.model_folder import read_model_folder
from models.trunk import Trunk
from models.trunks import recorded_trunk
from utils.checkpoints import load_state, read_checkpoint
from utils.errors import InputError

EMBEDDING = "original_model.second_last_linear.weight"
TEACHER_HEAD = "original_model.last_linear.weight"
PROJECTION = "contrastive_head.weight"
HEADS = ("linear.", "original_model.last_linear.", "contrastive_head.")  # retrieval does not use them
T = TypeVar("T")


def restore_student(
    path: Path, embedding_dim: int | None, num_classes: int | None = None, option: str = "--checkpoint"
) -> tuple[Student, dict[str, Any]]:
    """The student in eval mode, with the trunk that the checkpoint records, and the content of the checkpoint.

    path: a checkpoint file, or a folder that export.py wrote. option: names it in messages.

    Raises InputError if the file is missing, damaged or would run code, if a trunk or embedding key is missing or has a wrong
    shape, or if the embedding's length or the number of classes differs from `embedding_dim` or `num_classes` (None: any).
    """
    content = read_model_folder(path, option) if path.is_dir() else read_checkpoint(path, option)
    state = content["state_dict"]
    has_distance_head = "linear.cpars" in state
    trunk = recorded_trunk(content, path)
    found_dim = _rows(state, EMBEDDING, trunk.feature_dim, path)
    if embedding_dim not in (None, found_dim):
        raise InputError(f"{path}: holds a {found_dim}-d embedding; pass --num_hashing {found_dim}, not {embedding_dim}")
    class_head = "linear.cpars" if has_distance_head else "linear.weight"
    found_classes = _rows(state, class_head, found_dim, path) if class_head in state else (num_classes or 1)
    if num_classes not in (None, found_classes):
        raise InputError(f"{path}: holds {found_classes} seen classes; pass --num_classes {found_classes} or leave it out")
    student = Student(
        found_dim,
        found_classes,
        teacher_classes=_rows(state, TEACHER_HEAD, found_dim, path) if TEACHER_HEAD in state else 1,
        distance_head=has_distance_head,
        projection_dim=_rows(state, PROJECTION, trunk.feature_dim, path) if PROJECTION in state else None,
        trunk=trunk,
    )
    ignored = load_state(student, state, path, optional=HEADS)
    if ignored:
        print(f"{path.name}: ignoring keys this network does not have: {', '.join(ignored)}", file=sys.stderr)
    return student.eval(), content


def require_arch(trunk: Trunk, arch: str | None, path: Path) -> None:
    """Raise InputError if `--arch` names another trunk than the checkpoint's."""
    if arch not in (None, trunk.arch):
        raise InputError(f"{path}: its trunk is {trunk.arch}; pass --arch {trunk.arch} or leave it out, not {arch}")


def recorded_option(content: dict[str, Any], name: str, kind: type[T]) -> T | None:
    """The value of an option that the training run recorded in its checkpoint; None if it recorded none of this type."""
    options = content.get("options")
    value = options.get(name) if isinstance(options, dict) else None
    return value if type(value) is kind else None


def recorded_image_size(content: dict[str, Any]) -> int | None:
    """The image size in pixels that the network was trained at; None if the checkpoint does not record a possible one."""
    size = recorded_option(content, "image_size", int)
    return size if size and 32 <= size <= 8192 else None  # the limits of --image_size


def weights_digest(network: torch.nn.Module, leave_out: re.Pattern[str] | None = None) -> str:
    """SHA-256 of the names, types, shapes and values of all weights and buffers whose names do not match `leave_out` anywhere."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        if leave_out is not None and leave_out.search(name):
            continue
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _rows(state: dict[str, Any], key: str, columns: int, path: Path) -> int:
    """Rows of a weight matrix. Its columns are checked first, so that a small file cannot claim a layer that fills the memory."""
    value = state.get(key)
    if not isinstance(value, torch.Tensor) or value.ndim != 2 or value.shape[1] != columns or not len(value):
        raise InputError(
            f"{path}: `{key}` is missing or not a matrix of {columns} columns; this is not a complete checkpoint of this network"
        )
    return len(value)
