"""Photos to read and to index."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.helpers.trees import picture


def write_photos(folder: Path) -> Path:
    """Twelve photos in two folders, `old` and `new`."""
    for number in range(12):
        path = folder / ("old" if number % 2 else "new") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    return folder


def asymmetric(width: int, height: int) -> Image.Image:
    """Four corners of different colours, so that every turn and mirror image shows."""
    corners = np.array([[[250, 20, 20], [20, 250, 20]], [[20, 20, 250], [240, 240, 30]]], dtype=np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BICUBIC)
