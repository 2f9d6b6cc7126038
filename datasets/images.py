"""One image file → one array of bytes. All that a worker process does."""

from pathlib import Path

import numpy as np
from PIL import Image

from utils.errors import InputError

# A JPEG with both sides this long is decoded at 1/2, 1/4 or 1/8, as long as so many times the wanted side is left for the
# filter to work on: several times as fast. The published datasets' files are smaller, and read to the last bit as ever.
LARGE, DRAFT_MARGIN = 1024, 2


def decode(path: Path, side: int) -> np.ndarray:
    """RGB, (side, side, 3) uint8, stretched to the square with an antialiased bilinear filter if it has another size.

    Transparent pixels show white paper. Raises InputError naming the file if it is missing, truncated or no image.
    """
    try:
        with Image.open(path) as image:
            is_large = min(image.size) >= LARGE
            draft = image.draft(None, (DRAFT_MARGIN * side, DRAFT_MARGIN * side)) if is_large else None
            box = draft[1] if draft else None  # the reduced image is rounded up; what it shows ends here
            image = _on_white(image)
            if image.size != (side, side):
                image = image.resize((side, side), Image.Resampling.BILINEAR, box=box)
            return np.array(image)
    except Exception as error:  # a broken file can make a decoder raise nearly anything
        raise InputError(f"{path}: not a readable image ({error}); replace it, or take it off its list") from error


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(paper, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
