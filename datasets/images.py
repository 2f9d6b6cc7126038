"""One image file → one uint8 tensor. All that a worker process does."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from utils.errors import InputError


def decode(path: Path, side: int) -> torch.Tensor:
    """RGB, (3, side, side) uint8, stretched to the square with an antialiased bilinear filter if it has another size.

    Transparent pixels show white paper. Raises InputError naming the file if it is missing, truncated or no image.
    """
    try:
        with Image.open(path) as image:
            image = _on_white(image)
            if image.size != (side, side):
                image = image.resize((side, side), Image.Resampling.BILINEAR)
            return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    except Exception as error:  # a broken file can make a decoder raise nearly anything
        raise InputError(f"{path}: not a readable image ({error}); replace it, or take it off its list") from error


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(paper, image).convert("RGB")
    return image.convert("RGB")
