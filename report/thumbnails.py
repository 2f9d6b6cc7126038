"""Small pictures for the report page, each put into the page once, however often it is shown."""

import base64
import io
from collections.abc import Callable

import numpy as np

QUALITY = 80  # of JPEG


class Thumbnails:
    """Hands out a CSS class for each image and remembers its bytes for the style sheet.

    thumbnail: ("query" or "gallery", index) → (H, W, 3) uint8. side: pixels of the longer side in the page.
    """

    def __init__(self, thumbnail: Callable[[str, int], np.ndarray], side: int):
        self._thumbnail, self._side = thumbnail, side
        self.rules: dict[str, str] = {}  # CSS class: data URI

    def css_class(self, kind: str, index: int) -> str:
        name = f"{kind}-{int(index)}"
        if name not in self.rules:
            self.rules[name] = data_uri(self._thumbnail(kind, int(index)), self._side)
        return name


def data_uri(image: np.ndarray, side: int) -> str:
    """A JPEG of (H, W, 3) uint8, no side longer than `side` pixels, as a data URI."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image, dtype=np.uint8)).convert("RGB")
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, format="JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
