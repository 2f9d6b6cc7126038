"""Names that options and checkpoints use: trunks, initial weights, domains. Imports no PyTorch: --help is fast."""

import argparse

from utils.errors import InputError

CSE_RESNET50 = "cse_resnet50"
TIMM = "timm/"  # begins the name of a timm model
DOWNLOAD, NONE = "imagenet", "none"  # values of --pretrained_weights besides a file
ALL, NORMS, HEADS = "all", "norms", "heads"  # values of --train
CONFIG = "config.json"  # in a folder that export.py wrote
SKETCH, PHOTO = 0.0, 1.0  # values of the domain input


def is_timm(arch: str) -> bool:
    return arch.startswith(TIMM)


def arch_name(text: str) -> str:
    """A value of `--arch`, for the parser. Only a name of timm imports timm, which knows its models."""
    if text == CSE_RESNET50:
        return text
    if not is_timm(text):
        raise argparse.ArgumentTypeError(f"must be {CSE_RESNET50} or timm/NAME, such as timm/resnet18, not {text!r}")
    from models.timm_models import require_model

    try:
        require_model(text.removeprefix(TIMM))
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text
