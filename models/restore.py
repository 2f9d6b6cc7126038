"""A checkpoint file, released or ours → the student it holds, whatever its widths."""

import hashlib
import sys
from pathlib import Path

import torch

from models.cse_resnet import FEATURE_DIM
from models.dsn import Student
from utils.checkpoints import load_state, read_checkpoint
from utils.errors import InputError

EMBEDDING = "original_model.second_last_linear.weight"
TEACHER_HEAD = "original_model.last_linear.weight"
PROJECTION = "contrastive_head.weight"
HEADS = ("linear.", "original_model.last_linear.", "contrastive_head.")  # retrieval reads none of them


def restore_student(
    path: Path, embedding_dim: int | None, num_classes: int | None = None, option: str = "--checkpoint"
) -> tuple[Student, dict]:
    """The student in eval mode, and the rest of the checkpoint's content.

    Raises InputError if the file is missing, damaged or hostile, if a trunk or embedding key is missing or mis-shaped, or
    if its embedding is not `embedding_dim` long or its class head not `num_classes` wide, where these are given.
    """
    content = read_checkpoint(path, option)
    state = content["state_dict"]
    has_distance_head = "linear.cpars" in state
    found_dim = _rows(state, EMBEDDING, FEATURE_DIM, path)
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
        projection_dim=_rows(state, PROJECTION, FEATURE_DIM, path) if PROJECTION in state else None,
    )
    ignored = load_state(student, state, path, optional=HEADS)
    if ignored:
        print(f"{path.name}: ignoring keys this network has no place for: {', '.join(ignored)}", file=sys.stderr)
    return student.eval(), content


def weights_digest(student: torch.nn.Module) -> str:
    """SHA-256 over names, types, shapes and values of all weights and buffers."""
    digest = hashlib.sha256()
    for name, value in student.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _rows(state: dict, key: str, columns: int, path: Path) -> int:
    """How wide a layer is to be built; the columns are looked at so that no more memory is taken than the file is long."""
    value = state.get(key)
    if not isinstance(value, torch.Tensor) or value.ndim != 2 or value.shape[1] != columns or not len(value):
        raise InputError(
            f"{path}: `{key}` is missing or no matrix of {columns} columns; this is not a whole checkpoint of this network"
        )
    return len(value)
