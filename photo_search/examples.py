"""Drawings to start from, drawn by code."""

import functools
import io

from synthetic.pictures import draw_sketch

# (name, which drawing of it): things that many photos show; the demo's network has not learned from the last three
DRAWINGS = (
    ("apple", 91),
    ("teapot", 90),
    ("scissors", 90),
    ("bell", 91),
    ("bicycle", 90),
    ("umbrella", 92),
    ("key", 90),
    ("mug", 90),
)
SIDE = 384  # pixels


@functools.lru_cache(len(DRAWINGS))
def example_png(number: int) -> bytes:
    """Of DRAWINGS[number]."""
    name, variant = DRAWINGS[number]
    file = io.BytesIO()
    draw_sketch(name, variant, side=SIDE).point(lambda grey: 0 if grey < 110 else 255).save(file, "PNG")
    return file.getvalue()
