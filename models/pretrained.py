"""ImageNet weights of an SE-ResNet-50 → initial weights of student and teacher.

The attention's 1×1 convolutions become linear layers with an additional zero column for the domain, so that at first the domain
changes nothing. The teacher keeps the full classifier; for the student, SVD factors it into the d-dim embedding and a head.
"""

from pathlib import Path

import torch

from models.cse_resnet import FEATURE_DIM
from models.dsn import Teacher
from models.names import DOWNLOAD
from models.timm_weights import download_failure, offline_if_unreachable, require_cache_folder
from models.trunk import Trunk
from utils.checkpoints import read_tensors, require_finite_floats, without_prefix
from utils.errors import InputError

TIMM_NAME = "legacy_seresnet50"
CLASSIFIER_NAMES = ("last_linear", "fc", "classifier")


def imagenet_state(source: str, option: str = "--pretrained_weights") -> dict[str, torch.Tensor]:
    """The teacher's state dict, from `imagenet` (timm's published weights) or from a file with timm's or the original names.

    Raises InputError if the download fails, or if the file is not a complete SE-ResNet-50 of finite weights.
    """
    state = _download() if source == DOWNLOAD else _read(Path(source), option)
    state = _conditioned(state)
    expected = Teacher(teacher_classes=_classes(state, source, option)).state_dict()
    for key, value in expected.items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.zeros_like(value)  # missing in old files, or a vector
        elif key not in state:
            raise InputError(f"{source}: no `{key}`; {option} needs a complete SE-ResNet-50 ({TIMM_NAME})")
        elif state[key].shape != value.shape:
            found, wanted = tuple(state[key].shape), tuple(value.shape)
            raise InputError(f"{source}: `{key}` is {found}, not {wanted}; {option} needs {TIMM_NAME}")
        else:
            require_finite_floats(key, state[key], source)
    return {key: state[key] if key.endswith("num_batches_tracked") else state[key].float() for key in expected}


def load_trunk(trunk: Trunk, state: dict[str, torch.Tensor]) -> None:
    """Copy the trunk's weights from an `imagenet_state`."""
    trunk.load_state_dict({key: value for key, value in state.items() if key.startswith("layer")}, strict=False)


def start_heads(trunk: Trunk, weight: torch.Tensor, bias: torch.Tensor) -> None:
    """Set embedding and teacher-space head to the best rank-d approximation of a classifier: weight (K, D), bias (K,).

    With the SVD U diag(s) Vᵀ of the classifier: embedding weight = diag(s) Vᵀ[:d], head weight = U[:, :d], head bias that of the
    classifier.
    """
    embed, classify = factor_classifier(weight, trunk.second_last_linear.out_features)
    with torch.no_grad():
        trunk.second_last_linear.weight[: len(embed)] = embed
        trunk.second_last_linear.bias.zero_()
        trunk.last_linear.weight.zero_()  # if d exceeds the classifier's rank, the other rows of the embedding have no effect
        trunk.last_linear.weight[:, : len(embed)] = classify
        trunk.last_linear.bias.copy_(bias)


def factor_classifier(weight: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """weight (K, D) → (r, D) and (K, r) whose product is its best approximation of rank r = min(rank, K, D)."""
    left, singular, right = torch.linalg.svd(weight.double(), full_matrices=False)
    return (singular[:rank, None] * right[:rank]).float(), left[:, :rank].float()


def _classes(state: dict[str, torch.Tensor], source: str, option: str) -> int:
    """Number of classes of the classifier; 1 if it is missing, which the caller reports."""
    weight = state.get("last_linear.weight")
    if weight is None:
        return 1
    if weight.ndim != 2 or weight.shape[1] != FEATURE_DIM or not len(weight):
        found = tuple(weight.shape)
        raise InputError(f"{source}: its classifier is {found}, not (classes, {FEATURE_DIM}); {option} needs {TIMM_NAME}")
    return len(weight)


def _download() -> dict[str, torch.Tensor]:
    import timm

    require_cache_folder("--pretrained_weights")
    try:
        with offline_if_unreachable():
            return timm.create_model(TIMM_NAME, pretrained=True).state_dict()
    except Exception as error:  # timm raises any error of its transport: URLError, OSError, hub errors, RuntimeError
        failure = download_failure("the ImageNet weights", timm.get_pretrained_cfg(TIMM_NAME), error)
        raise InputError(
            f"{failure}, then pass --pretrained_weights FILE; or pass --pretrained_weights none to train from scratch, without "
            "a teacher"
        ) from error


def _read(path: Path, option: str) -> dict[str, torch.Tensor]:
    state = without_prefix(read_tensors(path, option=option), "module.")
    for name in CLASSIFIER_NAMES[1:]:
        for kind in ("weight", "bias"):
            if f"{name}.{kind}" in state:
                state[f"last_linear.{kind}"] = state.pop(f"{name}.{kind}")
    return state


def _conditioned(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Turn the attention's 1×1 convolutions into linear layers; append a zero column for the domain to fc2 unless it has one."""
    conditioned = dict(state)
    for key, value in state.items():
        if "se_module" not in key or not key.endswith("weight") or value.ndim < 2:
            continue
        matrix = value.flatten(1)
        squeezed = state.get(key.replace("fc2.weight", "fc1.weight"))
        if "fc2" in key and squeezed is not None and squeezed.ndim and matrix.shape[1] == len(squeezed):
            matrix = torch.cat([matrix, matrix.new_zeros(len(matrix), 1)], dim=1)
        conditioned[key] = matrix
    return conditioned
