"""A tiny dataset on which an untrained network finds little."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.helpers.tiny_dataset import SEEN, UNSEEN, write_tiny_dataset

TINTS = dict(zip((SEEN[0], UNSEEN[0], SEEN[1], UNSEEN[1], SEEN[2]), np.linspace(-24, 24, 5), strict=True))


def write_tinted_dataset(root: Path) -> Path:
    """As `write_tiny_dataset`, but the class is the tint, from blue to red, and each image has a brightness of its own.

    The unseen classes lie between the seen ones.
    """
    write_tiny_dataset(root)
    generator = np.random.default_rng(3)
    for path in sorted((root / "Sketchy").glob("*/*/*.*g")):
        tint = TINTS[path.parent.name] * np.array([1, 0, -1])
        pixels = generator.uniform(40, 216) + tint + generator.normal(0, 8, (40, 40, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return root
