"""What `torch.hub.load` returns (hubconf.py): a network for two-line use, and the transform of its images."""

import argparse
import os
import sys
from pathlib import Path

from datasets.preprocessing import Transform
from models.embedding import EmbeddingNetwork, embedding_network, trained_preprocessing
from models.names import DOWNLOAD, arch_name
from models.restore import recorded_image_size, restore_student
from models.trunks import initial_trunk
from utils.errors import InputError


def load_trained(checkpoint: str | os.PathLike, image_size: int | None = None) -> tuple[EmbeddingNetwork, Transform]:
    """The embedding network of a checkpoint file or of a folder that export.py wrote.

    image_size: default: the size that it was trained at, if recorded. Raises InputError as `restore_student` and
    `trained_preprocessing` do.
    """
    student, content = restore_student(Path(checkpoint).expanduser(), None, option="checkpoint")
    return _frozen(embedding_network(student, trained_preprocessing(student, recorded_image_size(content), image_size)))


def load_untrained(
    arch: str, pretrained_weights: str | os.PathLike = DOWNLOAD, image_size: int | None = None
) -> tuple[EmbeddingNetwork, Transform]:
    """The pooled feature of a trunk with its initial weights: `imagenet` (timm's download), a file or `none` (random).

    arch: cse_resnet50 or timm/NAME. The licence of downloaded weights, where timm knows it, is printed, and `trunk.licence` of
    the network. Raises InputError as `initial_trunk` does, and if there is no such trunk.
    """
    try:
        trunk = initial_trunk(arch_name(arch), os.path.expanduser(pretrained_weights), image_size)
    except argparse.ArgumentTypeError as error:
        raise InputError(f"arch: {error}") from error
    if trunk.licence:
        print(f"weights of {trunk.arch}: licence {trunk.licence}", file=sys.stderr)
    return _frozen(EmbeddingNetwork(trunk, trunk.preprocessing))


def _frozen(network: EmbeddingNetwork) -> tuple[EmbeddingNetwork, Transform]:
    """In eval mode and without gradients of the weights, so that nobody needs `torch.no_grad()` to use the vectors."""
    return network.eval().requires_grad_(False), Transform(network.preprocessing)
