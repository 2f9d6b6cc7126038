"""timm's models by name: which there are, and how each expects its images."""

import difflib
import re
from typing import Any

from datasets.preprocessing import Preprocessing
from utils.errors import InputError

SMALLEST = 32  # pixels of an image's side
PATCH = re.compile(r"_patch(\d+)")


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
    patch = PATCH.search(name)
    step = int(patch[1]) if patch and has_fixed_size(name) else 1
    if size % step or size < SMALLEST:
        lower = max(size // step, -(-SMALLEST // step)) * step
        raise InputError(
            f"--image_size {size}: timm/{name} takes multiples of its patch of {step} px; use {lower} or {lower + step}"
        )
