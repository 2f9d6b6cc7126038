"""Small pictures of the report page; each is in the page once, as a CSS class, however often it is shown."""

import base64
import io
from collections.abc import Callable

import numpy as np


class Thumbnails:
    """thumbnail: ("query" or "gallery", index) → (H, W, 3) uint8. side: pixels of the longer side in the page."""

    def __init__(self, thumbnail: Callable[[str, int], np.ndarray], side: int):
        self._thumbnail, self._side = thumbnail, side
        self.rules: dict[str, str] = {}  # {CSS class: data URI}

    def css_class(self, kind: str, index: int) -> str:
        """The CSS class of an image, whose data URI is then in `rules`."""
        from PIL import Image  # here: a test without a report needs no Pillow

        name = f"{kind}-{int(index)}"
        if name not in self.rules:
            picture = Image.fromarray(self._thumbnail(kind, int(index))).convert("RGB")
            picture.thumbnail((self._side, self._side), Image.Resampling.LANCZOS)
            stream = io.BytesIO()
            picture.save(stream, format="JPEG", quality=80, optimize=True)
            self.rules[name] = "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
        return name
