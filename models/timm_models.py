"""timm's models by name: which there are, and how each expects its images."""

import difflib
import functools
from typing import Any

import torch

from datasets.preprocessing import Preprocessing
from utils.errors import InputError
from utils.text import one_line

SMALLEST = 32  # pixels of an image's side


def require_model(name: str) -> None:
    """Raise InputError, with the nearest names, unless timm can make this model."""
    import timm

    base, _, tag = name.partition(".")
    if "/" in name or ":" in name or not timm.is_model(base):
        near = difflib.get_close_matches(base, timm.list_models(), n=3, cutoff=0.5)
        advice = f"did you mean {' or '.join(near)}?" if near else "timm.list_models() lists them"
        raise InputError(f"timm/{name}: timm has no such model; {advice}")
    tags = [known.partition(".")[2] for known in timm.list_models(f"{base}.*", pretrained=True)]
    if tag and tag not in tags:
        advice = f"timm has {', '.join(f'{base}.{known}' for known in tags)}" if tags else f"use timm/{base}"
        raise InputError(f"timm/{name}: {base} has no weights of that name; {advice}")


def config_of(name: str) -> Any:
    """timm's `PretrainedCfg` of a known model."""
    import timm

    return timm.get_pretrained_cfg(name)


@functools.cache  # the check of a size runs the network on the meta device
def preprocessing_of(name: str, image_size: int | None = None) -> Preprocessing:
    """timm's evaluation transform of a model, at `image_size` pixels (default: its native size).

    Raises InputError if the model cannot take images of this size.
    """
    from timm.data import resolve_data_config

    config = resolve_data_config(pretrained_cfg=config_of(name).to_dict())
    size = image_size or config["input_size"][-1]
    require_image_size(name, size)
    how = {key: config[key] for key in ("interpolation", "crop_pct", "crop_mode")}
    return Preprocessing(size, tuple(config["mean"]), tuple(config["std"]), **how)


def has_fixed_size(name: str) -> bool:
    """Whether the network is built for one image size; then position embeddings are resampled for another."""
    return bool(config_of(name).fixed_input_size)


def require_image_size(name: str, size: int) -> None:
    """Raise InputError if the model cannot take images of `size` pixels."""
    if size < SMALLEST:
        raise InputError(f"--image_size {size}: timm/{name} takes no smaller images than {SMALLEST} px")
    if size == config_of(name).input_size[-1]:
        return
    network = skeleton(name, size)
    step = _patch(network) if has_fixed_size(name) else 1
    if size % step:  # timm would cut off the rest
        lower = max(size // step, -(-SMALLEST // step)) * step
        raise InputError(
            f"--image_size {size}: timm/{name} takes multiples of its patch of {step} px; use {lower} or {lower + step}"
        )
    try:
        with torch.no_grad():
            network(torch.empty(1, 3, size, size, device="meta"))
    except Exception as error:  # any layer may refuse its input in its own way
        raise _impossible_size(name, size, error) from error


def create(name: str, image_size: int, **rules: Any) -> Any:
    """timm's model for this image size; `rules` are arguments of `timm.create_model`.

    Raises InputError if the network cannot be built for this size.
    """
    import timm

    if has_fixed_size(name) and image_size != config_of(name).input_size[-1]:
        rules["img_size"] = image_size
    try:
        return timm.create_model(name, **rules)
    except (AssertionError, TypeError, ValueError) as error:
        raise _impossible_size(name, image_size, error) from error


@functools.cache
def skeleton(name: str, image_size: int) -> Any:
    """The network without classifier and without values, on PyTorch's meta device, where it takes no memory.

    Raises InputError if it cannot be built for this size.
    """
    with torch.device("meta"):
        network = create(name, image_size).eval()
        network.reset_classifier(0)
    return network


def _impossible_size(name: str, size: int, error: Exception) -> InputError:
    native = config_of(name).input_size[-1]
    reason = one_line(error)[:200]
    return InputError(f"--image_size {size}: timm/{name} cannot be built for it ({reason}); use its own, {native}")


def _patch(network: Any) -> int:
    """Pixels of a patch's side; 1 if the network has no patches."""
    size = getattr(getattr(network, "patch_embed", None), "patch_size", 1)
    return size if isinstance(size, int) else size[0]
